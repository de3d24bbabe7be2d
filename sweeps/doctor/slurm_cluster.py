"""Will this Slurm take the jobs of a sweep, warn them, and give them back?

What Slurm says is parsed by pure functions; each check is one more, over what was said.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.doctor.finding import Diagnostic, ok, problem, warning
from sweeps.slurm import parse_config, parse_job, run_command

MIN_JOB_AGE_SECONDS = 120
"""So long a cluster without accounting should remember how a job ended."""
USABLE_NODE_STATES = {"idle", "mixed", "allocated", "completing", "planned"}
NOT_SBATCH_OPTIONS = {
    "job_name",
    "array_parallelism",
    "signal_delay_s",
    "setup",
    "srun_args",
    "additional_parameters",
}
"""Words of submitit that sbatch has no option for, or that a single job does without."""
FEWER_JOBS_FIX = "launcher.cells_per_job=<cells a job>, or leave it: what is refused is submitted by the follow-up"


@dataclass(frozen=True, kw_only=True)
class JobRequirements:
    """What a sweep asks of a cluster."""

    partition: str | None = None
    """None: the cluster's default."""
    nodes: int = 1
    timeout_min: int = 240
    num_jobs: int = 1
    """Jobs that are to be submitted."""
    sbatch_options: tuple[str, ...] = ()
    """How the launcher would call sbatch."""
    checkpoint_seconds: float = 30.0
    save_seconds: float | None = None
    """How long it takes to come to the end of a step and to save; None: not measured."""
    signal_delay_s: int = 120
    """How long before its time limit a job is told to."""
    gpu_mismatch: str = ""
    """GPUs that runs would not use, or would lack, in words."""


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """What a cluster says of itself."""

    config: Mapping[str, str]
    partitions: Mapping[str, Mapping[str, str]]
    nodes_by_state: Mapping[str, int]
    """State -> nodes of the partition that was asked for."""
    max_submit_jobs: int | None
    """Jobs that this user may have in the queue; None: no limit is known."""
    sbatch_error: str | None
    """Why sbatch would not take such a job; None: it would."""

    def find_partition(self, requirements: JobRequirements) -> Mapping[str, str] | None:
        """The partition that is asked for, or the default one; None if there is none."""
        if requirements.partition is not None:
            return self.partitions.get(requirements.partition)
        return next((p for p in self.partitions.values() if p.get("Default") == "YES"), None)


def check_cluster(requirements: JobRequirements) -> list[Diagnostic]:
    """Ask Slurm, then judge; where it does not answer there is nothing else to be said."""
    if shutil.which("sbatch") is None:
        fix = "go to a login node of the cluster (module load slurm?), or launcher=local"
        return [problem("Slurm", "there is no sbatch here", fix)]
    config_result = run_command("scontrol", "show", "config")
    if config_result.returncode != 0:
        message = (config_result.stderr.strip().splitlines() or ["no answer"])[-1]
        return [problem("Slurm", f"its controller does not answer ({message})", "scontrol ping")]
    slurm_config = parse_config(config_result.stdout)
    message = (
        f"{slurm_config.get('SLURM_VERSION', '?')}, cluster {slurm_config.get('ClusterName', '?')}"
    )
    return [
        ok("Slurm", message),
        *run_checks(query_cluster(slurm_config, requirements), requirements),
    ]


def query_expected_start(sbatch_options: tuple[str, ...]) -> str:
    """When such a job would start, in Slurm's words, or why it would not."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch here"
    test_result = run_command("sbatch", "--test-only", *sbatch_options, "--wrap=true")
    start_match = re.search(r"to start at (\S+)", test_result.stderr)
    return (
        start_match[1].replace("T", " ") if start_match else extract_last_line(test_result.stderr)
    )


def run_checks(cluster_info: ClusterInfo, requirements: JobRequirements) -> list[Diagnostic]:
    """Every check; without the partition those that need it are left out."""
    if cluster_info.find_partition(requirements) is None:
        partition_names = ", ".join(sorted(cluster_info.partitions)) or "none"
        reason = (
            f"no partition {requirements.partition}"
            if requirements.partition
            else "no default partition"
        )
        return [
            problem(
                "partition", f"{reason}; there are {partition_names}", "launcher.partition=<name>"
            )
        ]
    return [check(cluster_info, requirements) for check in CHECKS]


def query_cluster(config: Mapping[str, str], requirements: JobRequirements) -> ClusterInfo:
    """Ask what the checks want to know."""
    partitions = [parse_job(line) for line in _query_lines("scontrol", "-o", "show", "partition")]
    partition_by_name = {p["PartitionName"]: p for p in partitions if "PartitionName" in p}
    partition_args = [] if requirements.partition is None else ["-p", requirements.partition]
    lines = (
        line.split("|") for line in _query_lines("sinfo", "-h", *partition_args, "-o", "%T|%D")
    )
    nodes_by_state: dict[str, int] = {}
    for state, count in lines:
        nodes_by_state[state] = nodes_by_state.get(state, 0) + int(count)
    test_result = run_command("sbatch", "--test-only", *requirements.sbatch_options, "--wrap=true")
    return ClusterInfo(
        config=config,
        partitions=partition_by_name,
        nodes_by_state=nodes_by_state,
        max_submit_jobs=_query_max_submit_jobs(config),
        sbatch_error=None if test_result.returncode == 0 else extract_last_line(test_result.stderr),
    )


# ---- what Slurm prints ---------------------------------------------------------------------------


def format_sbatch_options(submitit_parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """What a launcher asks for in submitit's words, as options of sbatch."""
    additional_parameters = {
        k: v for k, v in submitit_parameters.get("additional_parameters", {}).items() if k != "hold"
    }
    direct_parameters = {
        k: v for k, v in submitit_parameters.items() if k not in NOT_SBATCH_OPTIONS
    }
    sbatch_parameters = {
        k.replace("_", "-"): v for k, v in {**direct_parameters, **additional_parameters}.items()
    }
    return tuple(f"--{k}" if v is True else f"--{k}={v}" for k, v in sbatch_parameters.items())


def parse_leading_int(text: str | None, default: int = 0) -> int:
    """The number that a value begins with, such as 300 of `300 sec`."""
    first_word = (text or "").split()[:1]
    return int(first_word[0]) if first_word and first_word[0].isdecimal() else default


def parse_time_limit_minutes(text: str) -> float:
    """A limit such as `1-12:00:00`, `30:00` or `UNLIMITED`, in minutes."""
    if text in ("UNLIMITED", "INFINITE", "NONE", "n/a"):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, clock_minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + clock_minutes + seconds / 60


def parse_smallest_limit(lines: list[str]) -> int | None:
    """The smallest number in the lines of `sacctmgr show assoc format=MaxSubmitJobs`."""
    numbers = [int(line) for line in lines if line.strip().isdecimal()]
    return min(numbers, default=None)


def extract_last_line(output: str) -> str:
    """The last line of what a command said, without the command's name."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it did not say why"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ")


# ---- checks --------------------------------------------------------------------------------------


def check_nodes(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """As many nodes as a cell wants are there to be used."""
    check, num_nodes = "nodes", sum(cluster_info.nodes_by_state.values())
    num_usable = sum(
        n
        for state, n in cluster_info.nodes_by_state.items()
        if state.rstrip("*+-~#%$@!^") in USABLE_NODE_STATES
    )
    node_states = ", ".join(
        f"{n} {state}" for state, n in sorted(cluster_info.nodes_by_state.items())
    )
    if num_usable < requirements.nodes:
        message = f"a cell wants {requirements.nodes}, {num_usable} of {num_nodes} can be used ({node_states})"
        return problem(check, message, "another launcher.partition, fewer launcher.nodes, or wait")
    return ok(check, f"{num_usable} of {num_nodes} can be used")


def check_test_submission(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """`sbatch --test-only` takes such a job."""
    check = "sbatch takes such a job"
    if cluster_info.sbatch_error is None:
        return ok(check, "sbatch --test-only")
    return problem(
        check, cluster_info.sbatch_error, "change what launcher.* asks for: account, gpus, memory"
    )


def check_time_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """The partition allows the time that is asked for (else jobs may wait for ever)."""
    check, partition = "time limit", _require_partition(cluster_info, requirements)
    max_minutes = parse_time_limit_minutes(partition.get("MaxTime", "UNLIMITED"))
    if requirements.timeout_min > max_minutes:
        message = f"{requirements.timeout_min} minutes asked, {partition['PartitionName']} allows {max_minutes:g}"
        return problem(
            check, message, f"launcher.timeout_min={max_minutes:g}: cells are requeued and go on"
        )
    return ok(check, f"{requirements.timeout_min} minutes of {partition.get('MaxTime')}")


def check_signal_delay(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """A job that meets its time limit has the time to save."""
    check, save_seconds = "time to save", requirements.save_seconds
    if save_seconds is None:
        return ok(
            check, f"{requirements.signal_delay_s} s before the time limit; need not measured"
        )
    if save_seconds > requirements.signal_delay_s:
        message = (
            f"a step and a checkpoint take about {save_seconds:.0f} s, a job is told to save only "
        )
        message += f"{requirements.signal_delay_s} s before its time limit: work since the last one is lost"
        return warning(check, message, f"launcher.signal_delay_s={math.ceil(2 * save_seconds)}")
    return ok(
        check,
        f"{requirements.signal_delay_s} s before the time limit, about {save_seconds:.0f} s needed",
    )


def check_gpus(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """GPUs are asked for where runs use them, and only there."""
    check = "GPUs asked for"
    if requirements.gpu_mismatch:
        return warning(
            check, requirements.gpu_mismatch, "let launcher.gpus_per_node and runtime.device agree"
        )
    return ok(check, "as many as runs use")


def check_array_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """How many arrays the jobs make."""
    check, max_array_size = (
        "array limit",
        parse_leading_int(cluster_info.config.get("MaxArraySize"), 1001),
    )
    if requirements.num_jobs > max(max_array_size, 1):
        num_arrays = math.ceil(requirements.num_jobs / max(max_array_size, 1))
        message = (
            f"{requirements.num_jobs} jobs make {num_arrays} arrays: MaxArraySize={max_array_size}"
        )
        return warning(
            check, message, "launcher.cells_per_job=<cells a job>; it works as it is, but slower"
        )
    return ok(check, f"{requirements.num_jobs} jobs in one array (MaxArraySize={max_array_size})")


def check_job_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """How many jobs the queue takes."""
    check = "job limit"
    limits = {"MaxSubmitJobs": cluster_info.max_submit_jobs}
    limits["MaxJobCount"] = parse_leading_int(cluster_info.config.get("MaxJobCount")) or None
    for name, max_jobs in limits.items():
        if max_jobs is not None and requirements.num_jobs + 1 > max_jobs:  # and who follows up
            return warning(
                check,
                f"{requirements.num_jobs} jobs and a follow-up: {name}={max_jobs}",
                FEWER_JOBS_FIX,
            )
    return ok(check, ", ".join(f"{k}={v}" for k, v in limits.items() if v) or "none known")


def check_requeue(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Jobs may be put back into the queue."""
    check = "requeue"
    if cluster_info.config.get("JobRequeue") == "0":
        message = "JobRequeue=0: jobs are requeued only where each asks for it, as ours do"
        return warning(check, message, "doctor --submit proves it; else ask for JobRequeue=1")
    return ok(check, f"JobRequeue={cluster_info.config.get('JobRequeue')}")


def check_preemption(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Whether other jobs push ours out; what then becomes of them, and how much time they get."""
    check, partition = "preemption", _require_partition(cluster_info, requirements)
    if not _can_be_preempted(cluster_info, partition):
        return ok(check, "nothing preempts these jobs")
    preempt_modes = set(_get_preempt_mode(cluster_info, partition).split(","))
    fix = f"a partition that nothing preempts; runtime.checkpoint_seconds (now {_format_checkpoint_interval(requirements)})"
    if "REQUEUE" not in preempt_modes:
        consequence = (
            "suspended: their cells stand still" if "SUSPEND" in preempt_modes else "cancelled"
        )
        return warning(check, f"preempted jobs are {consequence} (PreemptMode={_get_preempt_mode(cluster_info, partition)})",
                       f"{fix}; the follow-up submits them again")  # fmt: skip
    grace_seconds, save_seconds = (
        parse_leading_int(partition.get("GraceTime")),
        requirements.save_seconds,
    )
    if grace_seconds < max(save_seconds or 0.0, 1.0):
        needed_text = (
            ""
            if save_seconds is None
            else f", a step and a checkpoint take about {save_seconds:.0f} s"
        )
        message = f"preempted jobs get GraceTime={grace_seconds} s{needed_text}: work since the last one is lost"
        return warning(check, message, f"a longer GraceTime, {fix}")
    return ok(check, f"requeued after a signal and GraceTime={grace_seconds} s")


def check_job_records(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """How a job ended can be asked for long enough."""
    check, min_job_age = (
        "states of ended jobs",
        parse_leading_int(cluster_info.config.get("MinJobAge"), 300),
    )
    if cluster_info.config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return ok(check, "accounting keeps them")
    if min_job_age < MIN_JOB_AGE_SECONDS:
        message = (
            f"no accounting, and the controller forgets them after {min_job_age} s (MinJobAge)"
        )
        return warning(check, message, "why a job died may stay unknown; ask for MinJobAge=300")
    return ok(check, f"no accounting; the controller keeps them for {min_job_age} s")


CHECKS: tuple[Callable[[ClusterInfo, JobRequirements], Diagnostic], ...] = (
    check_nodes,
    check_test_submission,
    check_time_limit,
    check_signal_delay,
    check_gpus,
    check_array_limit,
    check_job_limit,
    check_requeue,
    check_preemption,
    check_job_records,
)


def _require_partition(
    cluster_info: ClusterInfo, requirements: JobRequirements
) -> Mapping[str, str]:
    partition = cluster_info.find_partition(requirements)
    assert partition is not None, "checked before"
    return partition


def _can_be_preempted(cluster_info: ClusterInfo, partition: Mapping[str, str]) -> bool:
    preempt_type = cluster_info.config.get("PreemptType", "preempt/none")
    if preempt_type.endswith("/none") or _get_preempt_mode(cluster_info, partition) == "OFF":
        return False
    if preempt_type.endswith("/qos"):
        return True
    priority_tier = parse_leading_int(partition.get("PriorityTier"), 1)
    return any(
        parse_leading_int(p.get("PriorityTier"), 1) > priority_tier
        for p in cluster_info.partitions.values()
    )


def _get_preempt_mode(cluster_info: ClusterInfo, partition: Mapping[str, str]) -> str:
    by_partition = cluster_info.config.get("PreemptType", "").endswith("/partition_prio")
    cluster_mode = cluster_info.config.get("PreemptMode", "OFF")
    return partition.get("PreemptMode", cluster_mode) if by_partition else cluster_mode


def _format_checkpoint_interval(requirements: JobRequirements) -> str:
    return f"{requirements.checkpoint_seconds:g}"


# ---- asking --------------------------------------------------------------------------------------


def _query_max_submit_jobs(config: Mapping[str, str]) -> int | None:
    import getpass

    if not config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return None
    user = f"user={getpass.getuser()}"
    return parse_smallest_limit(
        _query_lines("sacctmgr", "-nP", "show", "assoc", user, "format=MaxSubmitJobs")
    )


def _query_lines(*command: str) -> list[str]:
    result = run_command(*command)
    return result.stdout.splitlines() if result.returncode == 0 else []
