"""The environment variables that Slurm's commands read: which are passed on, and which are not.

Commands that query or control jobs get none of the variables that filter or format their output
(`SQUEUE_PARTITION`, `SACCT_FORMAT`, ...). sbatch gets the options that the user has exported for
jobs (`SBATCH_ACCOUNT`, ...) unless a key of the launcher sets the same option: such a variable
would replace the option in the job's script. Options of the job that this process runs in are never
passed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

COMMAND_VARIABLE = re.compile(
    "(SLURM|SBATCH|SRUN|SALLOC|SATTACH|SQUEUE|SACCT|SACCTMGR|SCONTROL|SINFO|SCANCEL|SPRIO|SSHARE"
    "|SSTAT|SREPORT|SDIAG|SUBMITIT)_"
)
"""Start of the names of the variables that a command of Slurm, or submitit, reads or sets."""
CONNECTION_VARIABLES = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT")
"""Variables that say which cluster is asked, and with which credentials."""
SBATCH_PREFIX = "SBATCH_"
JOB_SETS = re.compile("SBATCH_(MEM|CPU)_BIND")
"""Start of the only variables of this prefix that Slurm sets in a job; all others are exported by
the user and inherited by jobs."""
OPTION_NAMES = {
    "ARRAY_INX": "array",
    "BURST_BUFFER": "bb",
    "CPU_FREQ_REQ": "cpu_freq",
    "DEBUG": "verbose",
    "MEM_PER_NODE": "mem",
    "REQ_SWITCH": "switches",
    "TIMELIMIT": "time",
}
"""Name of a variable without its prefix -> option of sbatch, where they differ."""
CONTROLLED_OPTIONS = frozenset(
    "array clusters error job_name no_requeue open_mode output requeue signal time verbose "
    "wait".split()
)
"""Options that the launcher sets itself, or that would change how sbatch answers."""
GPU_OPTIONS = frozenset(
    "gres gpus gpus_per_node gpus_per_socket gpus_per_task gpu_bind gpu_freq gres_flags "
    "cpus_per_gpu mem_per_gpu".split()
)
GPU_REQUESTS = frozenset("gpus gpus_per_node gpus_per_socket gpus_per_task".split())
"""Options that request GPUs whatever their value is; `gres` does for some values. The other
`GPU_OPTIONS` only say how GPUs are used."""
GPU_RESOURCE = re.compile(r"(gres[:/])?(gpu|mps|shard)\b")
"""Start of a value of `gres` that requests GPUs, or parts of them."""
RESOURCE_OPTIONS = GPU_OPTIONS | {"exclusive"}
"""Options of cells that a follow-up job, which needs one core, does without."""
ALTERNATIVE_OPTIONS = (
    frozenset({"mem", "mem_per_cpu", "mem_per_gpu"}),
    frozenset({"gres", "gpus", "gpus_per_node", "gpus_per_socket", "gpus_per_task"}),
    frozenset({"cpus_per_task", "cpus_per_gpu"}),
)
"""Options of which sbatch accepts one, or that request the same twice."""


@dataclass(frozen=True, kw_only=True)
class SbatchVariables:
    """The `SBATCH_*` variables of an environment: which of them apply to a job."""

    applied: dict[str, str] = field(default_factory=dict)
    """Variables that sbatch gets."""
    overridden: dict[str, str] = field(default_factory=dict)
    """Variables that sbatch does not get, since the launcher sets the option."""

    def get_option(self, name: str) -> str | None:
        """Return the value of an option of sbatch, such as "partition"; None if it is not set."""
        for variable, value in self.applied.items():
            if get_option_name(variable) == name:
                return value
        return None

    @property
    def requests_gpus(self) -> bool:
        """Whether an option that applies requests GPUs, or parts of them."""
        gres_items = (self.get_option("gres") or "").split(",")
        return any(get_option_name(name) in GPU_REQUESTS for name in self.applied) or any(
            GPU_RESOURCE.match(item) for item in gres_items
        )

    def describe(self) -> str:
        """Return one sentence that names every variable; empty if there is none."""
        clauses = []
        if self.applied:
            clauses.append(f"the jobs get {_format_variables(self.applied)} of your environment")
        if self.overridden:
            clauses.append(
                f"{_format_variables(self.overridden)} of your environment does not apply: keys "
                "of the launcher set these options"
            )
        return "; ".join(clauses)


def get_option_name(variable: str) -> str:
    """Return the option of sbatch, such as "mem", that a variable of it sets."""
    suffix = variable.removeprefix(SBATCH_PREFIX)
    return OPTION_NAMES.get(suffix, suffix.lower())


def collect_sbatch_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of sbatch that the user has exported, also inside of a job."""
    in_job = "SLURM_JOB_ID" in environment
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(SBATCH_PREFIX) and not (in_job and JOB_SETS.match(name))
    }


def select_sbatch_variables(
    environment: Mapping[str, str], options: Collection[str], *, is_follow_up: bool = False
) -> SbatchVariables:
    """Return which variables of sbatch apply to a job.

    Args:
        environment: the variables of this process.
        options: options of sbatch that the launcher sets for this job, such as "mem".
        is_follow_up: whether the job is a follow-up job.
    """
    excluded = {*options, *CONTROLLED_OPTIONS}
    for alternatives in ALTERNATIVE_OPTIONS:
        if alternatives.intersection(options):
            excluded |= alternatives
    if is_follow_up:
        excluded |= RESOURCE_OPTIONS
    applied, overridden = dict[str, str](), dict[str, str]()
    for name, value in sorted(collect_sbatch_variables(environment).items()):
        target = overridden if get_option_name(name) in excluded else applied
        target[name] = value
    return SbatchVariables(applied=applied, overridden=overridden)


def build_command_environment(
    environment: Mapping[str, str], sbatch_variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a command of Slurm.

    Args:
        environment: the variables of this process.
        sbatch_variables: the variables of sbatch that apply to the job that it submits.
    """
    variables = {
        name: value
        for name, value in environment.items()
        if not COMMAND_VARIABLE.match(name) or name in CONNECTION_VARIABLES
    }
    return {**variables, **(sbatch_variables or {})}


def restore_sbatch_variables(sbatch_variables: Mapping[str, str] | None) -> None:
    """Let this process, a follow-up job, submit with the variables of the command before it.

    Slurm may have started it without them (`SBATCH_EXPORT=NONE`), or with more.

    Args:
        sbatch_variables: as recorded by that command; None if it recorded none.
    """
    if sbatch_variables is None:
        return
    for name in list(os.environ):
        if name.startswith(SBATCH_PREFIX):
            del os.environ[name]
    os.environ.update(sbatch_variables)


def _format_variables(variables: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in variables.items())
