"""The verb `doctor`: what would go wrong, before anything is spent.

A list of checks, each with a mend. Nothing is left in the store but what a sweep would begin with:
the plan and the audit of an ablation that was named, which the sweep then need not make again.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from ablations.plan.plan import ResolvedPlan, build_plan, resolve_base_config
from sweeps.claims import process
from sweeps.config import request
from sweeps.config.schema import SlurmLauncherConfig, SweepConfig, describe_gpu_mismatch
from sweeps.costs import estimate, probe
from sweeps.costs.audit_scope import compute_audit_key, has_valid_audit
from sweeps.doctor import device, filesystem, packages, slurm_cluster, test_job
from sweeps.doctor.finding import Diagnostic, ok, problem, warning
from sweeps.monitor import status as status_
from uniclip.config import RunConfig
from uniclip.config.compose import parse_overrides
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.identity import ROOT
from uniclip.io.atomic import resolve_staged_path
from uniclip.store import Store, SubmissionIntent

MIN_FREE_BYTES = 10**9
"""Room that should be free where nothing is known."""
CHECKPOINTS_PER_ACTIVE_RUN = 3
"""Of a run at work: two that are kept, and one that is being written."""
DISK_BYTES_PER_SECOND = 100e6
"""At which a checkpoint is assumed to be written."""


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """What is examined: where runs would go, and which, if that was said."""

    settings: SweepConfig
    config: RunConfig
    """Of the reference arm; without an ablation, the default one."""
    store: Store
    resolved_plan: ResolvedPlan | None
    submit_test_job: bool
    """Whether a tiny job may be submitted."""

    @property
    def uses_slurm(self) -> bool:
        """Whether runs go to a cluster."""
        return isinstance(self.settings.launcher, SlurmLauncherConfig)

    def list_open_runs(self) -> list[str]:
        """Runs that the sweep would take up."""
        if self.resolved_plan is None:
            return []
        rows = status_.build_rows(self.store, self.resolved_plan.plan)
        return list(dict.fromkeys(r.run for r in rows if self.settings.should_run(r.state)))


def collect_diagnostics(
    overrides: list[str], *, submit_test_job: bool = False
) -> Iterator[Diagnostic]:
    """Yield every diagnostic as soon as it is known; an error in a check is one more.

    Args:
        overrides: The `key=value` words of the command line.
        submit_test_job: Whether a small job may be submitted to the cluster.
    """
    context = yield from _build_context(overrides, submit_test_job)
    if context is None:
        return
    if context.submit_test_job and not context.uses_slurm:
        raise UserError("doctor --submit sends a tiny job to a cluster: say launcher=slurm")
    for check in CHECKS:
        try:
            yield from check(context)
        except (UserError, OSError) as error:
            yield problem(check.__name__.replace("_", " "), str(error), "what it says")


def _build_context(
    overrides: list[str], submit_test_job: bool
) -> Generator[Diagnostic, None, DoctorContext | None]:
    """What is to be examined, and what is found of its plan; None if there is no more to it."""
    if "ablation" not in parse_overrides(overrides):
        sweep_config, config = request.parse_configs(overrides)
        store = Store(sweep_config.store)
        return DoctorContext(
            settings=sweep_config,
            config=config,
            store=store,
            resolved_plan=None,
            submit_test_job=submit_test_job,
        )
    sweep_request, resolved_plan = request.parse_request(overrides), None
    try:
        resolved_plan = build_plan(sweep_request.plan_request)
    except UserError as error:
        yield problem("plan and training data", str(error), "what it says")
        try:
            config = resolve_base_config(sweep_request.plan_request)
        except UserError:  # as was said: there is no run to look at
            return None
    else:
        config = resolved_plan.configs[resolved_plan.plan.reference]
        num_runs = len(resolved_plan.specs)
        yield ok("plan and training data", f"{resolved_plan.plan.sweep_id}, {num_runs} runs")
    return DoctorContext(
        settings=sweep_request.settings,
        config=config,
        store=sweep_request.store,
        resolved_plan=resolved_plan,
        submit_test_job=submit_test_job,
    )


# ---- checks --------------------------------------------------------------------------------------


def check_libraries(context: DoctorContext) -> Iterator[Diagnostic]:
    """Python and the libraries, here."""
    yield from packages.check_packages(ROOT)


def check_devices(context: DoctorContext) -> Iterator[Diagnostic]:
    """torch, and the device that runs ask for; of a cluster's devices `--submit` tells."""
    if context.uses_slurm:
        yield from device.check_device("cpu")
        return
    max_parallel_runs = context.settings.max_parallel_runs(context.config.train.num_threads)
    yield from device.check_device(context.config.runtime.device, max_parallel_runs)


def check_store_folder(context: DoctorContext) -> Iterator[Diagnostic]:
    """The store's file system, its room, and the files that it takes."""
    store = context.store
    try:
        with store.create_scratch_folder() as scratch_dir:
            yield from filesystem.check_file_system(scratch_dir)
    except OSError as error:
        message = f"store={store.root} cannot be written ({error.strerror})"
        yield problem("store", message, "choose another store=")


def check_disk_space(context: DoctorContext) -> Iterator[Diagnostic]:
    """Bytes and files that the sweep needs, against those that are free."""
    root = context.store.root
    existing_dir = next(path for path in (root, *root.parents) if path.exists())
    if not existing_dir.is_dir():
        return  # there can be no store: the check of its folder has said so
    runs = context.list_open_runs()
    needed_bytes = _estimate_bytes_needed(context, runs)
    yield filesystem.check_free_space(
        existing_dir, needed_bytes, MIN_FREE_BYTES, f"{len(runs)} runs"
    )
    yield filesystem.check_inodes(existing_dir, len(runs))


def check_evaluation_datasets(context: DoctorContext) -> Iterator[Diagnostic]:
    """The sets that runs are judged by: what is missing, damaged, or not as published."""
    root = str(resolve_staged_path(context.config.runtime.data_root))
    if context.resolved_plan is None:
        selected_datasets = list(datasets.DATASETS.values())
    else:
        selected_datasets = [
            d
            for n, d in datasets.DATASETS.items()
            if n in _list_benchmark_datasets(context.resolved_plan)
        ]
        for name, hint in context.resolved_plan.plan.missing_datasets.items():
            yield warning("data sets", f"{name} is not here, its scores will be n/a", hint)
        for name, hint in context.resolved_plan.plan.missing_probe_data.items():
            yield warning("data sets", f"{name}: its linear probe will be n/a", hint)
    dataset_statuses = [verify.verify_dataset(dataset, root) for dataset in selected_datasets]
    for dataset_status in dataset_statuses:
        if dataset_status.availability in ("corrupt", "mismatch"):
            message = f"{dataset_status.dataset.name}: {'; '.join(dataset_status.describe())}"
            yield warning("data sets", message, f"fetch it again into data_root={root}")
    num_present = sum(
        dataset_status.availability in ("complete", "partial") for dataset_status in dataset_statuses
    )
    yield ok(
        "data sets",
        f"{num_present} of {len(dataset_statuses)} published ones under data_root={root}",
    )


def check_slurm(context: DoctorContext) -> Iterator[Diagnostic]:
    """The cluster, if runs go to one; with `--submit` also a node of it."""
    if not context.uses_slurm:
        return
    requirements = build_requirements(context)
    diagnostics = slurm_cluster.check_cluster(requirements)
    yield from diagnostics
    if context.submit_test_job and not any(f.level == "problem" for f in diagnostics):
        launcher = _get_slurm_launcher(context)
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
    """Each arm takes a few steps, and each component is seen to switch what it says."""
    if context.resolved_plan is None:
        return
    sweep_folder = context.store.get_sweep(context.resolved_plan.plan.sweep_id)
    if context.uses_slurm and not has_valid_audit(
        sweep_folder, compute_audit_key(context.resolved_plan.plan)
    ):
        yield warning("switches", "not proven yet", "plan --probe submits that, and nothing else")
        return
    try:
        probe.run_probe(context.store, context.resolved_plan)
    except (UserError, OSError) as error:
        yield problem("switches", str(error), "what it says")
        return
    audit_checks = sweep_folder.read_audit_checks()
    for f in audit_checks:
        if not f.passed:
            yield problem(
                "switches", f.failure_message, "the arm is not what it is called: mend its delta"
            )
    num_passed = sum(f.passed for f in audit_checks)
    yield ok(
        "switches",
        f"{num_passed} of {len(audit_checks)} checks of {len(context.resolved_plan.plan.arms)} arms",
    )


CHECKS: tuple[Callable[[DoctorContext], Iterator[Diagnostic]], ...] = (
    check_libraries,
    check_devices,
    check_evaluation_datasets,
    check_store_folder,
    check_slurm,
    check_audit,
    check_disk_space,
)
"""Room comes last: what is needed is known when the switches were proven."""


# ---- what is needed ------------------------------------------------------------------------------


def _get_slurm_launcher(context: DoctorContext) -> SlurmLauncherConfig:
    launcher = context.settings.launcher
    assert isinstance(launcher, SlurmLauncherConfig), "these checks are for launcher=slurm"
    return launcher


def build_requirements(context: DoctorContext) -> slurm_cluster.JobRequirements:
    """What the sweep asks of a cluster."""
    launcher, runs = _get_slurm_launcher(context), context.list_open_runs()
    cost_estimates = _estimate_costs(context)
    return slurm_cluster.JobRequirements(
        partition=launcher.partition,
        nodes=launcher.nodes,
        timeout_min=launcher.timeout_min,
        num_jobs=len(runs) or 1,
        sbatch_options=build_sbatch_options(launcher, context.config.train.num_threads),
        checkpoint_seconds=context.config.runtime.checkpoint_seconds,
        save_seconds=max(map(_estimate_save_seconds, cost_estimates), default=None),
        signal_delay_s=launcher.signal_delay_s,
        gpu_mismatch=describe_gpu_mismatch(launcher, context.config.runtime.device),
    )


def build_sbatch_options(launcher: SlurmLauncherConfig, threads: int) -> tuple[str, ...]:
    """What the launcher asks of Slurm for one cell of so many compute threads."""
    from sweeps.launchers.slurm import build_sbatch_parameters

    intent = SubmissionIntent(
        token="doctor",
        kind="run",
        array_tasks=(),
        last_attempts={},
        submitter=process.make_claim_record({}),
    )
    return slurm_cluster.format_sbatch_options(
        build_sbatch_parameters(launcher, intent, ROOT, threads)
    )


def _estimate_costs(context: DoctorContext) -> list[estimate.CostEstimate]:
    if context.resolved_plan is None:
        return []
    return list(estimate.estimate_costs(context.store, context.resolved_plan.plan).values())


def _estimate_save_seconds(cost_estimate: estimate.CostEstimate) -> float:
    """To come to the end of a step and to write a checkpoint."""
    return (cost_estimate.step_seconds or 0.0) + (
        cost_estimate.checkpoint_bytes or 0.0
    ) / DISK_BYTES_PER_SECOND


def _estimate_bytes_needed(context: DoctorContext, runs: list[str]) -> int | None:
    """What runs leave on the disk, and their checkpoints while they run; None: not measured."""
    if context.resolved_plan is None:
        return None
    plan = context.resolved_plan.plan
    cost_estimates = estimate.estimate_costs(context.store, plan)
    arm_by_run = {c.run_id: c.arm for c in plan.cells if c.run_id in runs}
    if any(
        a not in cost_estimates or cost_estimates[a].stored_bytes is None
        for a in arm_by_run.values()
    ):
        return None
    num_parallel = min(
        len(runs), context.settings.max_parallel_runs(plan.base_config["train"]["num_threads"])
    )
    largest_checkpoint = max(
        (cost_estimates[a].checkpoint_bytes or 0.0 for a in arm_by_run.values()), default=0.0
    )
    stored_bytes = sum(cost_estimates[a].stored_bytes or 0.0 for a in arm_by_run.values())
    return round(stored_bytes + num_parallel * CHECKPOINTS_PER_ACTIVE_RUN * largest_checkpoint)


def _list_benchmark_datasets(resolved_plan: ResolvedPlan) -> set[str]:
    evaluated_datasets = {
        name
        for dataset_names in resolved_plan.plan.evaluation_hashes.values()
        for name in dataset_names
    }
    return evaluated_datasets | set(resolved_plan.plan.missing_datasets)
