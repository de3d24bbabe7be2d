"""Checks of a Slurm cluster against the requirements of a sweep's jobs.

`query_cluster` runs Slurm's commands; the checks are pure functions of what it returns.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Callable, Mapping

from sweeps.doctor import job_start
from sweeps.doctor.cluster_info import (
    ClusterInfo,
    JobRequirements,
    extract_last_line,
    parse_leading_int,
    query_cluster,
)
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from sweeps.slurm import parse_config, run_command

CONTROLLER_CHECK = "Slurm"
"""Check that the controller answers."""
MIN_JOB_AGE_SECONDS = 120
"""How long a cluster without accounting should keep the record of an ended job."""
FEWER_JOBS_FIX = (
    "launcher.cells_per_job=<number>, or leave it: the follow-up job submits what was rejected"
)


def check_cluster(requirements: JobRequirements) -> list[Diagnostic]:
    """Query Slurm and return every diagnostic, or a single one if Slurm does not answer."""
    if shutil.which("sbatch") is None:
        fix = "go to a login node of the cluster (module load slurm?), or launcher=local"
        return [problem(CONTROLLER_CHECK, "sbatch was not found", fix)]
    config_result = run_command("scontrol", "show", "config")
    if config_result.returncode != 0:
        message = (config_result.stderr.strip().splitlines() or ["no answer"])[-1]
        return [
            problem(
                CONTROLLER_CHECK, f"the controller does not answer ({message})", "scontrol ping"
            )
        ]
    slurm_config = parse_config(config_result.stdout)
    message = (
        f"{slurm_config.get('SLURM_VERSION', '?')}, cluster {slurm_config.get('ClusterName', '?')}"
    )
    return [
        ok(CONTROLLER_CHECK, message),
        *run_checks(query_cluster(slurm_config, requirements), requirements),
    ]


def query_expected_start(
    sbatch_options: tuple[str, ...], sbatch_variables: Mapping[str, str] | None = None
) -> str:
    """Return when such a job would start, as Slurm estimates it, or why sbatch rejects it."""
    if shutil.which("sbatch") is None:
        return "sbatch was not found"
    test_result = run_command(
        *("sbatch", "--test-only", *sbatch_options, "--wrap=true"),
        sbatch_variables=sbatch_variables,
    )
    start_match = re.search(r"to start at (\S+)", test_result.stderr)
    return (
        start_match[1].replace("T", " ") if start_match else extract_last_line(test_result.stderr)
    )


def run_checks(cluster_info: ClusterInfo, requirements: JobRequirements) -> list[Diagnostic]:
    """Return the diagnostic of every check, or a single one if there is no such partition.

    What sbatch says is left out if another problem, or nodes that are not usable, explain it.
    """
    missing_partition = job_start.check_partition(cluster_info, requirements)
    if missing_partition.level == "problem":
        return [missing_partition]
    diagnostics = [check(cluster_info, requirements) for check in CHECKS]
    is_explained = any(
        d.level == "problem" or (d.check == "nodes" and d.level == "warning") for d in diagnostics
    )
    test_submission = job_start.check_test_submission(cluster_info, requirements)
    if not is_explained or test_submission.level == "ok":
        diagnostics.append(test_submission)
    return diagnostics


# ---- checks --------------------------------------------------------------------------------------


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
    check, partitions = "preemption", cluster_info.find_partitions(requirements)
    if not partitions:
        return ok(check, "the partition is not known")
    partition = partitions[0]
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
    job_start.check_partition,
    job_start.check_store_path,
    job_start.check_environment,
    job_start.check_node_size,
    job_start.check_nodes,
    job_start.check_account,
    job_start.check_time_limit,
    job_start.check_follow_up,
    check_signal_delay,
    check_gpus,
    check_array_limit,
    check_job_limit,
    check_requeue,
    check_preemption,
    check_job_records,
)


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
