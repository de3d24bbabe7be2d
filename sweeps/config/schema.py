"""Settings of a sweep: seeds, store, launcher, and what is run again."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Union

from ablations.schema import DesignName
from sweeps.claims.status import RunState
from sweeps.slurm import MAX_EARLY_SIGNAL_SECONDS
from uniclip.config.binding import TAGGED_UNIONS, config_field
from uniclip.errors import UserError
from uniclip.store import RunStatus

MAX_SEEDS = 10_000
ADAPTIVE: Literal["adaptive"] = "adaptive"
"""The value of `seeds` with which cells are bought while the sweep runs."""
DEFAULT_MAX_SEEDS = 16
"""Seeds that no arm of an adaptive sweep exceeds, unless `max_seeds` says otherwise."""
RESERVED_SBATCH_PARAMETERS = frozenset(
    "array cluster clusters dependency error hold job_name no_requeue open_mode output parsable "
    "quiet requeue signal test_only wait wrap".split()
)
"""Parameters of sbatch that the launcher sets itself: the user cannot set them."""
SHARED_PARAMETER_NAMES = (
    "account constraint cpus_per_task gpus_per_node gres nodes partition qos".split()
)
SBATCH_TO_LAUNCHER_KEY = {
    "mem": "mem_gb",
    "ntasks_per_node": "tasks_per_node",
    "time": "timeout_min",
    **{name: name for name in SHARED_PARAMETER_NAMES},
}
"""Parameter of sbatch -> the key of the launcher that sets it."""


@dataclass(frozen=True, kw_only=True)
class LocalLauncherConfig:
    """Worker processes on this machine; each runs cells until none is left."""

    name: Literal["local", "debug"] = "local"
    max_workers: int | None = config_field(None, low=1)
    """Cells that run at the same time; null = as many as the cores and train.num_threads allow,
    with runtime.device=cuda at most one for each GPU, or each tasks_per_node GPUs."""
    tasks_per_node: int | None = config_field(None, low=1)
    """Processes of one cell, which share each batch, with runtime.device=cuda on a GPU each; null =
    one."""

    @property
    def processes_per_node(self) -> int:
        """Processes of one cell."""
        return self.tasks_per_node or 1

    @property
    def world_size(self) -> int:
        """Processes of one cell."""
        return self.processes_per_node

    def with_one_process(self) -> LocalLauncherConfig:
        """Return the settings for cells of a command, which is started once.

        Raises:
            UserError: several processes are requested.
        """
        if self.processes_per_node > 1:
            raise UserError(
                "a command is started once for each cell: leave out launcher.tasks_per_node, and "
                "let command.run start its processes (torchrun)"
            )
        return self

    def max_parallel(self, num_threads: int) -> int:
        """Return how many runs are executed in parallel, with `num_threads` compute threads in each
        of their processes."""
        affinity = getattr(os, "sched_getaffinity", None)
        num_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        return self.max_workers or max(1, num_cores // (num_threads * self.processes_per_node))


@dataclass(frozen=True, kw_only=True)
class DebugLauncherConfig(LocalLauncherConfig):
    """Cells one after another in the process of the command, as submitit's DebugExecutor does:
    breakpoint() works, and pdb opens where a cell fails."""

    name: Literal["local", "debug"] = "debug"

    def __post_init__(self) -> None:
        if self.max_workers not in (None, 1):
            raise UserError(
                "launcher=debug runs one cell at a time: leave launcher.max_workers out, or write "
                "launcher=local"
            )
        if self.processes_per_node > 1:
            raise UserError(
                "launcher=debug runs a cell in the process of the command: leave "
                "launcher.tasks_per_node out, or write launcher=local"
            )

    def max_parallel(self, num_threads: int) -> int:
        """Return 1."""
        return 1


@dataclass(frozen=True, kw_only=True)
class SlurmLauncherConfig:
    """Jobs on a Slurm cluster."""

    name: Literal["slurm"] = "slurm"
    partition: str | None = None
    """Partition of the jobs, or several; null = SBATCH_PARTITION, or the cluster's default."""
    account: str | None = None
    """Account that is charged for the jobs; null = SBATCH_ACCOUNT, or the user's default."""
    qos: str | None = None
    """Quality of service of the jobs; null = SBATCH_QOS, or the cluster's default."""
    constraint: str | None = None
    """Features that the nodes must have, such as "a100"; null = any node."""
    gres: str | None = None
    """Generic resources of a node, such as "gpu:a100:2"; null = none."""
    nodes: int = config_field(1, low=1)
    """Nodes of one cell."""
    gpus_per_node: int | None = config_field(None, low=0)
    """GPUs of one cell on a node; null = none, or those of `gres`."""
    tasks_per_node: int | None = config_field(None, low=1)
    """Processes of one cell on a node; null = one for each GPU."""
    cpus_per_task: int | None = config_field(None, low=1)
    """CPU cores of each process; null = train.num_threads and one for each data worker
    (runtime.num_workers; if that is null, 4 with a GPU, else none)."""
    mem_gb: float | None = config_field(None, above=0)
    """Memory of a node, in GB; null = the partition's default."""
    timeout_min: int = config_field(240, low=1)
    """Time limit of a job, in minutes. A cell that needs longer is checkpointed, requeued and
    continued."""
    array_parallelism: int = config_field(256, low=1)
    """Number of jobs of an array that may run at the same time."""
    cells_per_job: int | None = config_field(None, low=1)
    """Cells that a job runs in turn; null = as many as take ten minutes together, at least one."""
    signal_delay_s: int = config_field(120, low=1)
    """Seconds before the time limit at which Slurm signals a job to write its checkpoint."""
    additional_parameters: dict[str, Any] = config_field(dict)
    """Further parameters of sbatch, such as {reservation: x}; those that other keys or the launcher
    itself set (such as time, array or dependency) are refused."""
    setup: tuple[str, ...] = ()
    """Shell commands that run before each job: modules, conda, copying data to a local disk."""
    python: str | None = None
    """How jobs start Python, such as "apptainer exec image.sif python"; null = this interpreter."""
    offline: bool = False
    """Compute nodes have no network: no request goes to a model hub."""
    follow_up: bool = True
    """Submit a small job that runs the command again when the other jobs have ended."""
    follow_up_partition: str | None = None
    """Partition of the follow-up job; null = that of launcher.partition."""
    poll_seconds: float = config_field(15.0, above=0)
    """With wait=true: seconds between two checks of the jobs."""

    @property
    def processes_per_node(self) -> int:
        """Processes of one cell on a node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def world_size(self) -> int:
        """Processes of one cell, on all its nodes."""
        return self.nodes * self.processes_per_node

    def with_one_process(self) -> SlurmLauncherConfig:
        """Return the settings for cells of a command, which is started once, whatever the GPUs.

        Raises:
            UserError: several processes are requested.
        """
        if self.nodes > 1 or (self.tasks_per_node or 1) > 1:
            raise UserError(
                "a command is started once for each cell: leave out launcher.nodes and "
                "launcher.tasks_per_node, and let command.run start its processes (torchrun)"
            )
        return replace(self, tasks_per_node=1)

    @property
    def requested_gpus_per_node(self) -> int:
        """GPUs of one cell on a node; 0 if neither `gpus_per_node` nor `gres` requests any."""
        gres_items = [gres_item.split(":") for gres_item in (self.gres or "").split(",")]
        gpu_counts = [gres_item[-1] for gres_item in gres_items if gres_item[0] == "gpu"]
        return self.gpus_per_node or sum(int(n) if n.isdecimal() else 1 for n in gpu_counts)

    def validate(self) -> None:
        """Check that a job has time to run, and that no parameter is set in two ways.

        Raises:
            UserError: it has not, or one is.
        """
        required_seconds = self.signal_delay_s + MAX_EARLY_SIGNAL_SECONDS
        if required_seconds >= 60 * self.timeout_min:
            raise UserError(
                f"launcher.signal_delay_s={self.signal_delay_s} leaves nothing of "
                f"launcher.timeout_min={self.timeout_min}: every job would be signalled to stop as "
                f"it starts (Slurm may signal {MAX_EARLY_SIGNAL_SECONDS} s early); set "
                f"launcher.timeout_min={required_seconds // 60 + 1}"
            )
        for key in self.additional_parameters:
            name = key.replace("-", "_")
            if name in RESERVED_SBATCH_PARAMETERS:
                raise UserError(
                    f"launcher.additional_parameters.{key}: the launcher sets this itself; "
                    "leave it out"
                )
            if name in SBATCH_TO_LAUNCHER_KEY:
                raise UserError(
                    f"launcher.additional_parameters.{key}: set "
                    f"launcher.{SBATCH_TO_LAUNCHER_KEY[name]} instead"
                )

    def max_parallel(self, num_threads: int) -> int:
        """Return how many runs are executed in parallel on an empty cluster."""
        return self.array_parallelism


LAUNCHER_CONFIGS: dict[str, type] = {
    "local": LocalLauncherConfig,
    "slurm": SlurmLauncherConfig,
    "debug": DebugLauncherConfig,
}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """How the cells are executed: nothing here changes the result of a run."""

    seeds: Union[int, tuple[int, ...], Literal["adaptive"]] = 5
    """Number of seeds (3 = 0, 1 and 2; ablations that choose settings start at 100), or a list of
    them. Verdicts are made at certain numbers of seeds, by default 5, 8 and 12 (`plan` shows those
    of an ablation). adaptive = one seed after another for the arms of contrasts that are undecided,
    until every primary contrast is decided, or max_seeds or max_gpu_hours are reached."""
    max_seeds: int | None = config_field(None, low=4, high=64)
    """With seeds=adaptive: seeds that no arm exceeds, at most 64; null = 16."""
    margin: Union[float, dict[str, float], None] = None
    """The largest effect on the primary score that is practically nothing, in the unit of the score
    (0.01 = one percentage point of an accuracy), or one for each primary score; null = that of the
    ablation."""
    store: str = config_field("store", is_path=True)
    """Folder of runs, sweeps and reports."""
    launcher: LocalLauncherConfig | SlurmLauncherConfig = config_field(LocalLauncherConfig)
    """Where cells are executed; launcher=local, slurm or debug chooses the class."""
    arms: tuple[str, ...] | None = None
    """Only these arms of the ablation; null = all."""
    design: DesignName | None = None
    """Which combinations of the components are trained (docs/designs.md); null = as the ablation
    declares."""
    components: tuple[str, ...] | None = None
    """The components that the design varies (`list components`); null = those of the ablation."""
    resolution: int | None = config_field(None, low=3, high=5)
    """Resolution of a fractional design; null = that of the ablation, or 4."""
    fold_over: tuple[str, ...] | None = None
    """Fold-overs of a fractional or Plackett-Burman design: components whose levels are reversed in
    further arms, or all; null = those of the ablation."""
    retry: Literal["none", "failed", "diverged"] = "none"
    """Runs that are run again although they have ended: none, failed ones or diverged ones."""
    outdated: Literal["keep", "rerun"] = "keep"
    """Whether results of a different version of the training code are kept, or rerun."""
    wait: bool = False
    """On a cluster: wait until every job has ended, instead of leaving the rest to the follow-up
    job."""
    max_gpu_hours: float | None = config_field(None, above=0)
    """Refuse to start if the runs would take more GPU-hours; a CPU worker counts as one GPU. With
    seeds=adaptive: buy no more cells than these GPU-hours pay for."""
    notify: str | None = field(default=None, repr=False)
    """Webhook (https://..., as Slack's) that is told of failed cells, of a sweep that stands still,
    of hours nearly spent and of the end; null = the environment variable UNICLIP_NOTIFY, which `ps`
    does not show."""

    def __post_init__(self) -> None:
        if not self.store:
            raise UserError("store= is empty: name a folder, or leave it out for ./store")
        if isinstance(self.launcher, SlurmLauncherConfig):
            self.launcher.validate()
        if self.max_seeds is not None and not self.is_adaptive:
            raise UserError("max_seeds= needs seeds=adaptive; fixed seeds are a number, as seeds=5")

    @property
    def is_adaptive(self) -> bool:
        """Whether cells are bought while the sweep runs."""
        return self.seeds == ADAPTIVE

    def should_run(self, state: RunState) -> bool:
        """Return whether a run is executed: unfinished, or selected by `retry` or `outdated`."""
        return (
            state.is_runnable
            or self.should_restart(state)
            or state.status in (RunStatus.PAUSED, self.retry)
        )

    def should_restart(self, state: RunState) -> bool:
        """Return whether a run's result is moved aside and the run started from the beginning."""
        if state.status == RunStatus.DIVERGED:
            return self.retry == "diverged"
        return (
            self.outdated == "rerun"
            and state.is_outdated
            and state.status in (RunStatus.OUTDATED, RunStatus.NEEDS_EVALUATION)
        )

    def max_parallel_runs(self, num_threads: int) -> int:
        """Return how many runs of `num_threads` compute threads each are executed in parallel."""
        return self.launcher.max_parallel(num_threads)

    def resolve_seeds(self, first_seed: int = 0) -> tuple[int, ...]:
        """Return the seeds as a tuple, see `resolve_seeds` of this module; with seeds=adaptive
        those that it may come to."""
        seeds = self.seeds
        if isinstance(seeds, str):
            seeds = self.max_seeds or DEFAULT_MAX_SEEDS
        return resolve_seeds("seeds", seeds, first_seed)


TAGGED_UNIONS[SweepConfig, "launcher"] = LAUNCHER_CONFIGS


def resolve_seeds(key: str, value: int | tuple[int, ...], first_seed: int = 0) -> tuple[int, ...]:
    """Return the seeds that a key is set to: a number of them from `first_seed` on, or a list.

    Raises:
        UserError: there is no seed, one is negative or given twice, or there are too many.
    """
    if isinstance(value, int) and value > MAX_SEEDS:
        raise UserError(f"{key}={value}: give at most {MAX_SEEDS}")
    seeds = tuple(range(first_seed, first_seed + value)) if isinstance(value, int) else value
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        shown_value = value if isinstance(value, int) else f"[{','.join(map(str, value))}]"
        raise UserError(
            f"{key}={shown_value}: give a number of at least 1, or a list of different seeds such "
            "as [3,7]"
        )
    return seeds


def requests_gpus(launcher: SlurmLauncherConfig) -> bool:
    """Return whether the jobs of the launcher request GPUs, or parts of them."""
    return launcher.requested_gpus_per_node > 0 or bool(_list_gpu_parameters(launcher))


def _list_gpu_parameters(launcher: SlurmLauncherConfig) -> list[str]:
    """Return the generic resources and parameters of sbatch that name GPUs or parts of them."""
    parameter_names = [*(launcher.gres or "").split(","), *launcher.additional_parameters]
    return [name for name in parameter_names if re.match("gpu|mps|shard", name)]


def describe_gpu_mismatch(
    launcher: SlurmLauncherConfig, device: str, *, is_command: bool = False
) -> str:
    """Describe in a line how the requested GPUs and `device` (runtime.device) disagree.

    The string is empty if they agree, as far as the settings show.

    Args:
        launcher: The settings of the launcher.
        device: What `runtime.device` comes to.
        is_command: Whether cells are commands, which may use several GPUs with one process.
    """
    num_gpus, num_processes = launcher.requested_gpus_per_node, launcher.processes_per_node
    shared_gpu_parameters = _list_gpu_parameters(launcher)
    if device == "cpu":
        request_text = (
            f"{num_gpus} GPUs per node are"
            if num_gpus
            else f"{shared_gpu_parameters[0]} is"
            if shared_gpu_parameters
            else ""
        )
        return (
            request_text and f"{request_text} requested, and runtime.device=cpu does not use them"
        )
    if not num_gpus and not shared_gpu_parameters:
        return f"runtime.device={device}, and no GPU is requested"
    if num_processes < num_gpus and not is_command:
        return (
            f"{num_gpus} GPUs per node are requested, and launcher.tasks_per_node={num_processes} "
            f"uses {num_processes}"
        )
    return ""
