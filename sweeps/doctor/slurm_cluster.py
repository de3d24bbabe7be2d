"""Checks of a Slurm cluster against the requirements of a sweep's jobs.

`query_cluster` runs Slurm's commands; parsers and checks are pure functions of their output.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from sweeps.slurm import parse_config, parse_job, run_command

MIN_JOB_AGE_SECONDS = 120
"""How long a cluster without accounting should keep the record of an ended job."""
USABLE_NODE_STATES = {"idle", "mixed", "allocated", "completing", "planned"}
FEWER_JOBS_FIX = (
    "launcher.cells_per_job=<number>, or leave it: the follow-up job submits what was rejected"
)


@dataclass(frozen=True, kw_only=True)
class JobRequirements:
    """What the jobs of a sweep require of a cluster."""

    partition: str | None = None
    """None: the default partition of the cluster."""
    nodes: int = 1
    """Nodes of one job."""
    timeout_min: int = 240
    """Time limit of a job, in minutes."""
    num_jobs: int = 1
    """Jobs to be submitted."""
    sbatch_options: tuple[str, ...] = ()
    """The options with which the launcher calls sbatch."""
    checkpoint_seconds: float = 30.0
    """As runtime.checkpoint_seconds."""
    save_seconds: float | None = None
    """Seconds to finish a step and to write a checkpoint; None: not measured."""
    signal_delay_s: int = 120
    """Seconds before its time limit at which a job is signalled to stop."""
    gpu_mismatch: str = ""
    """How requested GPUs and runtime.device disagree; empty if they agree."""


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """Facts about a cluster, as Slurm reports them."""

    config: Mapping[str, str]
    """Parameter of slurm.conf -> value."""
    partitions: Mapping[str, Mapping[str, str]]
    """Partition -> its parameters."""
    nodes_by_state: Mapping[str, int]
    """State -> number of nodes of the requested partition."""
    max_submit_jobs: int | None
    """Jobs that this user may have in the queue; None: no limit is known."""
    sbatch_error: str | None
    """Why sbatch rejects such a job; None: it accepts it."""

    def find_partition(self, requirements: JobRequirements) -> Mapping[str, str] | None:
        """Return the requested partition, or the default one; None if there is none."""
        if requirements.partition is not None:
            return self.partitions.get(requirements.partition)
        return next((p for p in self.partitions.values() if p.get("Default") == "YES"), None)


def check_cluster(requirements: JobRequirements) -> list[Diagnostic]:
    """Query Slurm and return every diagnostic, or a single one if Slurm does not answer."""
    if shutil.which("sbatch") is None:
        fix = "go to a login node of the cluster (module load slurm?), or launcher=local"
        return [problem("Slurm", "sbatch was not found", fix)]
    config_result = run_command("scontrol", "show", "config")
    if config_result.returncode != 0:
        message = (config_result.stderr.strip().splitlines() or ["no answer"])[-1]
        return [problem("Slurm", f"the controller does not answer ({message})", "scontrol ping")]
    slurm_config = parse_config(config_result.stdout)
    message = (
        f"{slurm_config.get('SLURM_VERSION', '?')}, cluster {slurm_config.get('ClusterName', '?')}"
    )
    return [
        ok("Slurm", message),
        *run_checks(query_cluster(slurm_config, requirements), requirements),
    ]


def query_expected_start(sbatch_options: tuple[str, ...]) -> str:
    """Return when such a job would start, as Slurm estimates it, or why sbatch rejects it."""
    if shutil.which("sbatch") is None:
        return "sbatch was not found"
    test_result = run_command("sbatch", "--test-only", *sbatch_options, "--wrap=true")
    start_match = re.search(r"to start at (\S+)", test_result.stderr)
    return (
        start_match[1].replace("T", " ") if start_match else extract_last_line(test_result.stderr)
    )


def run_checks(cluster_info: ClusterInfo, requirements: JobRequirements) -> list[Diagnostic]:
    """Return the diagnostic of every check, or a single one if there is no such partition."""
    if cluster_info.find_partition(requirements) is None:
        partition_names = ", ".join(sorted(cluster_info.partitions)) or "none"
        reason = (
            f"no partition {requirements.partition}"
            if requirements.partition
            else "no default partition"
        )
        message = f"{reason}; the partitions are {partition_names}"
        return [problem("partition", message, "launcher.partition=<name>")]
    return [check(cluster_info, requirements) for check in CHECKS]


def query_cluster(config: Mapping[str, str], requirements: JobRequirements) -> ClusterInfo:
    """Return what the checks need to know."""
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


# ---- parsers -------------------------------------------------------------------------------------


def parse_leading_int(text: str | None, default: int = 0) -> int:
    """Return the number at the start of a value, such as 300 for "300 sec"."""
    first_word = (text or "").split()[:1]
    return int(first_word[0]) if first_word and first_word[0].isdecimal() else default


def parse_time_limit_minutes(text: str) -> float:
    """Return a limit such as "1-12:00:00", "30:00" or "UNLIMITED" in minutes."""
    if text in ("UNLIMITED", "INFINITE", "NONE", "n/a"):
        return math.inf
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, clock_minutes, seconds = [0] * (3 - len(parts)) + parts
    return int(days or 0) * 1440 + hours * 60 + clock_minutes + seconds / 60


def parse_smallest_limit(lines: list[str]) -> int | None:
    """Return the smallest number in the lines of `sacctmgr show assoc format=MaxSubmitJobs`."""
    numbers = [int(line) for line in lines if line.strip().isdecimal()]
    return min(numbers, default=None)


def extract_last_line(output: str) -> str:
    """Return the last line of the output of a command, without the name of the command."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no message"]
    return lines[-1].removeprefix("sbatch: error: ").removeprefix("allocation failure: ")


# ---- checks --------------------------------------------------------------------------------------


def check_nodes(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that enough nodes for one cell are usable."""
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
        message = (
            f"a cell needs {requirements.nodes}, {num_usable} of {num_nodes} are usable "
            f"({node_states})"
        )
        return problem(check, message, "another launcher.partition, fewer launcher.nodes, or wait")
    return ok(check, f"{num_usable} of {num_nodes} are usable")


def check_test_submission(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that `sbatch --test-only` accepts such a job."""
    check = "sbatch --test-only"
    if cluster_info.sbatch_error is None:
        return ok(check, "the job is accepted")
    return problem(
        check, cluster_info.sbatch_error, "change what launcher.* requests: account, GPUs, memory"
    )


def check_time_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that the partition allows the time limit; otherwise jobs may wait for ever."""
    check, partition = "time limit", _require_partition(cluster_info, requirements)
    max_minutes = parse_time_limit_minutes(partition.get("MaxTime", "UNLIMITED"))
    if requirements.timeout_min > max_minutes:
        message = (
            f"{requirements.timeout_min} minutes requested, "
            f"{partition['PartitionName']} allows {max_minutes:g}"
        )
        fix = f"launcher.timeout_min={max_minutes:g}: cells are requeued and continue"
        return problem(check, message, fix)
    return ok(check, f"{requirements.timeout_min} minutes of {partition.get('MaxTime')}")


def check_signal_delay(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that a job can write a checkpoint between the signal and its time limit."""
    check, save_seconds = "checkpoint before time limit", requirements.save_seconds
    delay_text = f"{requirements.signal_delay_s} s before the time limit"
    if save_seconds is None:
        return ok(check, f"signalled {delay_text}; the time to save was not measured")
    if save_seconds > requirements.signal_delay_s:
        message = (
            f"a step and a checkpoint take about {save_seconds:.0f} s, but jobs are signalled only "
            f"{delay_text}: work since the last checkpoint is lost"
        )
        return warning(check, message, f"launcher.signal_delay_s={math.ceil(2 * save_seconds)}")
    return ok(check, f"signalled {delay_text}, about {save_seconds:.0f} s needed")


def check_gpus(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that GPUs are requested if and only if the runs use them."""
    check = "requested GPUs"
    if requirements.gpu_mismatch:
        fix = "make launcher.gpus_per_node and runtime.device agree"
        return warning(check, requirements.gpu_mismatch, fix)
    return ok(check, "as many as the runs use")


def check_array_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that one job array holds all jobs."""
    check, num_jobs = "array limit", requirements.num_jobs
    max_array_size = parse_leading_int(cluster_info.config.get("MaxArraySize"), 1001)
    if num_jobs > max(max_array_size, 1):
        num_arrays = math.ceil(num_jobs / max(max_array_size, 1))
        message = f"{num_jobs} jobs need {num_arrays} arrays: MaxArraySize={max_array_size}"
        fix = "launcher.cells_per_job=<number>; without it submitting takes longer"
        return warning(check, message, fix)
    return ok(check, f"{num_jobs} jobs in one array (MaxArraySize={max_array_size})")


def check_job_limit(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that all jobs and the follow-up job may be in the queue at once."""
    check, num_jobs = "job limit", requirements.num_jobs
    limits = {
        "MaxSubmitJobs": cluster_info.max_submit_jobs,
        "MaxJobCount": parse_leading_int(cluster_info.config.get("MaxJobCount")) or None,
    }
    for name, max_jobs in limits.items():
        if max_jobs is not None and num_jobs + 1 > max_jobs:
            message = f"{num_jobs} jobs and a follow-up job: {name}={max_jobs}"
            return warning(check, message, FEWER_JOBS_FIX)
    return ok(check, ", ".join(f"{k}={v}" for k, v in limits.items() if v) or "none known")


def check_requeue(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that the cluster requeues jobs."""
    check = "requeue"
    if cluster_info.config.get("JobRequeue") == "0":
        message = "JobRequeue=0: only jobs that ask for it are requeued; the launcher's do"
        return warning(check, message, "doctor --submit tests it; else ask for JobRequeue=1")
    return ok(check, f"JobRequeue={cluster_info.config.get('JobRequeue')}")


def check_preemption(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that preempted jobs are requeued, and have the time to write a checkpoint."""
    check, partition = "preemption", _require_partition(cluster_info, requirements)
    if not _can_be_preempted(cluster_info, partition):
        return ok(check, "these jobs cannot be preempted")
    preempt_mode = _get_preempt_mode(cluster_info, partition)
    preempt_modes = preempt_mode.split(",")
    fix = (
        "a partition without preemption; "
        f"runtime.checkpoint_seconds (now {requirements.checkpoint_seconds:g})"
    )
    if "REQUEUE" not in preempt_modes:
        is_suspended = "SUSPEND" in preempt_modes
        consequence = "suspended: their cells do not progress" if is_suspended else "cancelled"
        message = f"preempted jobs are {consequence} (PreemptMode={preempt_mode})"
        return warning(check, message, f"{fix}; the follow-up job submits them again")
    grace_seconds = parse_leading_int(partition.get("GraceTime"))
    save_seconds = requirements.save_seconds
    if grace_seconds < max(save_seconds or 0.0, 1.0):
        save_text = ""
        if save_seconds is not None:
            save_text = f", a step and a checkpoint take about {save_seconds:.0f} s"
        message = (
            f"preempted jobs get GraceTime={grace_seconds} s{save_text}: "
            "work since the last checkpoint is lost"
        )
        return warning(check, message, f"a longer GraceTime, {fix}")
    return ok(check, f"requeued after a signal and GraceTime={grace_seconds} s")


def check_job_records(cluster_info: ClusterInfo, requirements: JobRequirements) -> Diagnostic:
    """Check that Slurm keeps the state of an ended job for long enough."""
    check = "job records"
    min_job_age = parse_leading_int(cluster_info.config.get("MinJobAge"), 300)
    if cluster_info.config.get("AccountingStorageType", "").endswith("slurmdbd"):
        return ok(check, "kept by accounting")
    if min_job_age < MIN_JOB_AGE_SECONDS:
        message = f"no accounting, and the controller keeps them for {min_job_age} s (MinJobAge)"
        fix = "the reason why a job ended may stay unknown; ask for MinJobAge=300"
        return warning(check, message, fix)
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
    assert partition is not None, "run_checks looks for it first"
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


# ---- queries -------------------------------------------------------------------------------------


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
