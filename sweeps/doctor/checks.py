"""The checks of the doctor: each yields diagnostics of one part of the environment."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator

from sweeps.costs.audit_scope import audit_failed, compute_audit_key, has_valid_audit
from sweeps.costs.probe import run_probe
from sweeps.doctor import device, filesystem, packages, slurm_cluster, test_job
from sweeps.doctor.context import DoctorContext, build_requirements, estimate_bytes_needed
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from sweeps.doctor.program import list_program_files
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import copies, verify
from uniclip.identity import ROOT
from uniclip.io.atomic import resolve_staged_path
from uniclip.store import Plan
from uniclip.store.store import WRITE_ERROR_FIX
from uniclip.store.sweep_records import AUDIT_ERROR_CHECK

Check = Callable[[DoctorContext], Iterator[Diagnostic]]
SEE_MESSAGE = "see the message"
AUDIT_ERROR_FIX = "correct the file or the setting that the message names"
FAILED_CHECK_FIX = "the arm does not do what its label says: correct its overrides"
MIN_FREE_BYTES = 10**9
"""Bytes that should be free if the need was not measured."""


def check_libraries(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check Python and the libraries of this machine."""
    yield from packages.check_packages(ROOT)


def check_requirements(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check that every library is installed that a sweep or its report needs."""
    yield packages.check_requirements(packages.list_requirements(ROOT))


def check_devices(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check torch and the device of the runs; on a cluster only `--submit` checks the device."""
    if context.slurm_launcher is not None:
        yield from device.check_device("cpu")
        return
    num_processes = context.settings.launcher.processes_per_node
    if num_processes > 1 and context.device not in ("cpu", "cuda"):
        fix = "runtime.device=cuda or cpu, or launcher.tasks_per_node=1"
        message = f"launcher.tasks_per_node={num_processes}: a process needs a GPU of its own"
        yield problem(f"runtime.device={context.device}", message, fix)
        return
    yield from device.check_device(context.device, context.num_required_gpus, num_processes)


def check_gpu(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check the device of runs on this machine unless it is the CPU, which is always there."""
    device_name = context.device
    if context.slurm_launcher is None and device_name != "cpu":
        context.print_line(f"checking runtime.device={device_name} ...")
        yield from check_devices(context)


def check_evaluation_datasets(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check the published data sets: what is missing, corrupt, or not as published."""
    check, root = "data sets", str(resolve_staged_path(context.config.runtime.data_root))
    selected_datasets = datasets.list_stored_datasets()
    if context.plan is not None:
        names = _list_evaluated_datasets(context.plan)
        selected_datasets = [d for name, d in datasets.DATASETS.items() if name in names]
        for name, hint in context.plan.missing_datasets.items():
            yield warning(check, f"{name} is missing, its scores will be n/a", hint)
        for name, hint in context.plan.missing_probe_data.items():
            yield warning(check, f"{name}: its linear probe will be n/a", hint)
    statuses = [
        verify.verify_dataset(copies.resolve_dataset(dataset, root), root)
        for dataset in selected_datasets
    ]
    for status in statuses:
        if status.availability in ("corrupt", "mismatch"):
            message = f"{status.dataset.name}: {'; '.join(status.describe())}"
            yield warning(check, message, f"download it again into data_root={root}")
    num_present = sum(status.availability in ("complete", "partial") for status in statuses)
    message = f"{num_present} of {len(statuses)} published data sets under data_root={root}"
    if not statuses:
        message = "no published data set is needed"
    yield ok(check, message)


def check_store_folder(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check the file system of the store."""
    store = context.store
    try:
        with store.create_scratch_folder() as scratch_dir:
            yield from filesystem.check_file_system(scratch_dir)
    except OSError as error:
        yield problem("store", store.describe_write_error(error), WRITE_ERROR_FIX)
        return
    yield from filesystem.check_permissions(store, context.plan)


def check_store_access(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check that this user may write everywhere in the store that a sweep writes to."""
    store = context.store
    try:
        with store.create_scratch_folder() as scratch_dir:
            yield filesystem.check_exclusive_link(scratch_dir)
    except OSError as error:
        yield problem("store", store.describe_write_error(error), WRITE_ERROR_FIX)
        return
    yield from filesystem.check_permissions(store, context.plan)


def check_slurm(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check the cluster if runs are executed on one; with `--submit` also a node of it."""
    launcher = context.slurm_launcher
    if launcher is None:
        return
    requirements = build_requirements(context, launcher)
    diagnostics = slurm_cluster.check_cluster(requirements)
    yield from diagnostics
    has_problem = any(diagnostic.level == "problem" for diagnostic in diagnostics)
    if context.submit_test_job and not has_problem:
        with context.store.create_scratch_folder() as scratch_dir:
            yield from test_job.run_test_job(
                scratch_dir,
                requirements,
                device_name=context.device,
                gpus_per_node=launcher.requested_gpus_per_node,
                python=launcher.python or shlex.quote(sys.executable),
                setup=launcher.setup,
                programs=list_program_files(context.resolved_plan) if context.resolved_plan else (),
            )


def check_audit(context: DoctorContext) -> Iterator[Diagnostic]:
    """Run the manipulation checks of every arm: a few training steps each."""
    check, resolved_plan = "manipulation check", context.resolved_plan
    if resolved_plan is None:
        return
    plan = resolved_plan.plan
    sweep_folder = context.store.get_sweep(plan.sweep_id)
    world_size = context.settings.launcher.world_size
    if context.slurm_launcher is not None and not has_valid_audit(
        sweep_folder, compute_audit_key(plan, world_size)
    ):
        yield warning(check, "not run yet", "plan --probe submits the audit, and nothing else")
        return
    try:
        run_probe(context.store, resolved_plan, world_size)
    except (UserError, OSError) as error:
        yield problem(check, str(error), SEE_MESSAGE)
        return
    audit_checks = sweep_folder.read_audit_checks()
    for audit_check in audit_checks:
        if not audit_check.passed:
            has_raised = audit_check.name == AUDIT_ERROR_CHECK
            fix = AUDIT_ERROR_FIX if has_raised else FAILED_CHECK_FIX
            yield problem(check, audit_check.failure_message, fix)
    if audit_failed(sweep_folder):
        return
    num_passed = sum(audit_check.passed for audit_check in audit_checks)
    message = f"{num_passed} of {len(audit_checks)} checks of {len(plan.arms)} arms passed"
    yield ok(check, message)


def check_disk_space(context: DoctorContext) -> Iterator[Diagnostic]:
    """Compare the bytes and files that the sweep needs with those that are free."""
    root = context.store.root
    existing_dir = next(path for path in (root, *root.parents) if path.exists())
    if not existing_dir.is_dir():
        return  # check_store_folder reports it
    runs = context.list_open_runs()
    needed_bytes = estimate_bytes_needed(context, runs)
    yield filesystem.check_free_space(
        existing_dir, needed_bytes, MIN_FREE_BYTES, f"{len(runs)} runs"
    )
    yield filesystem.check_inodes(existing_dir, len(runs))


def _list_evaluated_datasets(plan: Plan) -> set[str]:
    """Return the data sets that the plan evaluates, or would if they were present."""
    evaluated_datasets = {name for hashes in plan.evaluation_hashes.values() for name in hashes}
    return evaluated_datasets | set(plan.missing_datasets)
