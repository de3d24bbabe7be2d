"""Diagnosis of a sweep before it is started: a list of checks, each with a suggested fix.

The store keeps nothing but the plan and the audit of a named ablation, which the sweep would write
as well.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from ablations.plan.plan import ResolvedPlan, build_plan, resolve_base_config
from sweeps.config import request
from sweeps.config.schema import SlurmLauncherConfig, SweepConfig, describe_gpu_mismatch
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.costs.estimate import CostEstimate, estimate_costs
from sweeps.costs.probe import run_probe
from sweeps.doctor import device, filesystem, packages, slurm_cluster, test_job
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from sweeps.launchers.sbatch import build_sbatch_options
from sweeps.monitor.status import build_rows
from uniclip.config import RunConfig
from uniclip.config.compose import parse_overrides
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.identity import ROOT
from uniclip.io.atomic import resolve_staged_path
from uniclip.store import Cell, Plan, Store

SEE_MESSAGE = "see the message"
MIN_FREE_BYTES = 10**9
"""Bytes that should be free if the need was not measured."""
CHECKPOINTS_PER_ACTIVE_RUN = 3
"""Checkpoints of an active run: two that are kept, and one that is being written."""
DISK_BYTES_PER_SECOND = 100e6
"""Assumed speed of writing a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """What is checked: where runs would be executed, and which."""

    settings: SweepConfig
    config: RunConfig
    """The configuration of the reference arm; without an ablation, the default one."""
    store: Store
    resolved_plan: ResolvedPlan | None
    """None: no ablation was named, or its plan cannot be built."""
    submit_test_job: bool
    """Whether a test job may be submitted."""

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one."""
        return None if self.resolved_plan is None else self.resolved_plan.plan

    @property
    def slurm_launcher(self) -> SlurmLauncherConfig | None:
        """The launcher's settings if runs are executed on a cluster."""
        launcher = self.settings.launcher
        return launcher if isinstance(launcher, SlurmLauncherConfig) else None

    def list_open_runs(self) -> list[str]:
        """Return the ids of the runs that the sweep would execute."""
        if self.plan is None:
            return []
        rows = build_rows(self.store, self.plan)
        return list(dict.fromkeys(r.run for r in rows if self.settings.should_run(r.state)))

    def estimate_costs(self) -> dict[str, CostEstimate]:
        """Return arm -> estimated cost of one of its cells, as far as it was measured."""
        return {} if self.plan is None else estimate_costs(self.store, self.plan)


def collect_diagnostics(
    overrides: list[str], *, submit_test_job: bool = False
) -> Iterator[Diagnostic]:
    """Yield every diagnostic as soon as it is known.

    Args:
        overrides: the `key=value` words of the command line.
        submit_test_job: whether a small job may be submitted to the cluster.

    Raises:
        UserError: a test job is requested without a cluster, or the overrides are not valid.
    """
    context = yield from _build_context(overrides, submit_test_job)
    if context is None:
        return
    if context.submit_test_job and context.slurm_launcher is None:
        raise UserError("doctor --submit sends a test job to a cluster: add launcher=slurm")
    yield from run_checks(context)


def run_checks(context: DoctorContext) -> Iterator[Diagnostic]:
    """Yield the diagnostics of every check; an error in a check is a diagnostic of its own."""
    for check in CHECKS:
        try:
            yield from check(context)
        except (UserError, OSError) as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            yield problem(name, str(error), SEE_MESSAGE)


def _build_context(
    overrides: list[str], submit_test_job: bool
) -> Generator[Diagnostic, None, DoctorContext | None]:
    """Yield the diagnostic of the plan, and return the context; None if there is no valid run."""
    if "ablation" not in parse_overrides(overrides):
        sweep_config, config = request.parse_configs(overrides)
        return DoctorContext(
            settings=sweep_config,
            config=config,
            store=Store(sweep_config.store),
            resolved_plan=None,
            submit_test_job=submit_test_job,
        )
    sweep_request, resolved_plan = request.parse_request(overrides), None
    check = "plan and training data"
    try:
        resolved_plan = build_plan(sweep_request.plan_request)
    except UserError as error:
        yield problem(check, str(error), SEE_MESSAGE)
        try:
            config = resolve_base_config(sweep_request.plan_request)
        except UserError:  # the diagnostic above says so
            return None
    else:
        config = resolved_plan.configs[resolved_plan.plan.reference]
        yield ok(check, f"{resolved_plan.plan.sweep_id}, {len(resolved_plan.specs)} runs")
    return DoctorContext(
        settings=sweep_request.settings,
        config=config,
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        submit_test_job=submit_test_job,
    )


# ---- checks --------------------------------------------------------------------------------------


def check_libraries(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check Python and the libraries of this machine."""
    yield from packages.check_packages(ROOT)


def check_devices(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check torch and the device of the runs; on a cluster only `--submit` checks the device."""
    if context.slurm_launcher is not None:
        yield from device.check_device("cpu")
        return
    num_workers = context.settings.max_parallel_runs(context.config.train.num_threads)
    yield from device.check_device(context.config.runtime.device, num_workers)


def check_evaluation_datasets(context: DoctorContext) -> Iterator[Diagnostic]:
    """Check the published data sets: what is missing, corrupt, or not as published."""
    check, root = "data sets", str(resolve_staged_path(context.config.runtime.data_root))
    selected_datasets = list(datasets.DATASETS.values())
    if context.plan is not None:
        names = _list_evaluated_datasets(context.plan)
        selected_datasets = [d for name, d in datasets.DATASETS.items() if name in names]
        for name, hint in context.plan.missing_datasets.items():
            yield warning(check, f"{name} is missing, its scores will be n/a", hint)
        for name, hint in context.plan.missing_probe_data.items():
            yield warning(check, f"{name}: its linear probe will be n/a", hint)
    statuses = [verify.verify_dataset(dataset, root) for dataset in selected_datasets]
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
        message = f"store={store.root} cannot be written ({error.strerror})"
        yield problem("store", message, "choose another store=")


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
                device_name=context.config.runtime.device,
                gpus_per_node=launcher.requested_gpus_per_node,
                python=launcher.python or shlex.quote(sys.executable),
                setup=launcher.setup,
            )


def check_audit(context: DoctorContext) -> Iterator[Diagnostic]:
    """Run the manipulation checks of every arm: a few training steps each."""
    check, resolved_plan = "manipulation check", context.resolved_plan
    if resolved_plan is None:
        return
    plan = resolved_plan.plan
    sweep_folder = context.store.get_sweep(plan.sweep_id)
    if context.slurm_launcher is not None and not has_valid_audit(
        sweep_folder, compute_audit_key(plan)
    ):
        yield warning(check, "not run yet", "plan --probe submits the audit, and nothing else")
        return
    try:
        run_probe(context.store, resolved_plan)
    except (UserError, OSError) as error:
        yield problem(check, str(error), SEE_MESSAGE)
        return
    audit_checks = sweep_folder.read_audit_checks()
    for audit_check in audit_checks:
        if not audit_check.passed:
            fix = "the arm does not do what its label says: correct its overrides"
            yield problem(check, audit_check.failure_message, fix)
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
    needed_bytes = _estimate_bytes_needed(context, runs)
    yield filesystem.check_free_space(
        existing_dir, needed_bytes, MIN_FREE_BYTES, f"{len(runs)} runs"
    )
    yield filesystem.check_inodes(existing_dir, len(runs))


CHECKS: tuple[Callable[[DoctorContext], Iterator[Diagnostic]], ...] = (
    check_libraries,
    check_devices,
    check_evaluation_datasets,
    check_store_folder,
    check_slurm,
    check_audit,
    check_disk_space,
)
"""Disk space comes last: the audit measures what is needed."""


# ---- what a sweep needs --------------------------------------------------------------------------


def build_requirements(
    context: DoctorContext, launcher: SlurmLauncherConfig
) -> slurm_cluster.JobRequirements:
    """Return what the jobs of the sweep require of a cluster."""
    config, costs = context.config, context.estimate_costs().values()
    return slurm_cluster.JobRequirements(
        partition=launcher.partition,
        nodes=launcher.nodes,
        timeout_min=launcher.timeout_min,
        num_jobs=len(context.list_open_runs()) or 1,
        sbatch_options=build_sbatch_options(launcher, config.train.num_threads),
        checkpoint_seconds=config.runtime.checkpoint_seconds,
        save_seconds=max(map(_estimate_save_seconds, costs), default=None),
        signal_delay_s=launcher.signal_delay_s,
        gpu_mismatch=describe_gpu_mismatch(launcher, config.runtime.device),
    )


def _estimate_save_seconds(cost: CostEstimate) -> float:
    """Return the seconds to finish a step and to write a checkpoint."""
    write_seconds = (cost.checkpoint_bytes or 0.0) / DISK_BYTES_PER_SECOND
    return (cost.step_seconds or 0.0) + write_seconds


def _estimate_bytes_needed(context: DoctorContext, runs: list[str]) -> int | None:
    """Return the bytes that runs leave, and of their checkpoints while active; None: unknown."""
    if context.plan is None:
        return None
    cost_estimates = context.estimate_costs()
    costs = [cost_estimates.get(c.arm) for c in _list_unique_cells(context.plan, runs)]
    measured_costs = [cost for cost in costs if cost is not None and cost.stored_bytes is not None]
    if len(measured_costs) < len(costs):
        return None
    num_parallel = min(len(runs), context.settings.max_parallel_runs(context.plan.num_threads))
    largest_checkpoint = max((c.checkpoint_bytes or 0.0 for c in measured_costs), default=0.0)
    stored_bytes = sum(c.stored_bytes or 0.0 for c in measured_costs)
    return round(stored_bytes + num_parallel * CHECKPOINTS_PER_ACTIVE_RUN * largest_checkpoint)


def _list_unique_cells(plan: Plan, runs: list[str]) -> list[Cell]:
    """Return one cell for each of the runs."""
    return list({c.run_id: c for c in plan.cells if c.run_id in runs}.values())


def _list_evaluated_datasets(plan: Plan) -> set[str]:
    """Return the data sets that the plan evaluates, or would if they were present."""
    evaluated_datasets = {name for hashes in plan.evaluation_hashes.values() for name in hashes}
    return evaluated_datasets | set(plan.missing_datasets)
