"""Queries to Slurm: which jobs wait, run or have ended, and how the cluster is configured.

Commands are tried in this order: squeue (all jobs of the user in one call), scontrol (one job),
sacct (how a job ended, if the cluster has accounting). None of them is required: if none of them
answers, the state of a job is unknown.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from sweeps.slurm_environment import build_command_environment
from sweeps.slurm_reasons import Obstacle, find_obstacle
from uniclip.errors import RetryLater, UserError
from uniclip.store import ClaimRecord, EndReason

COMMAND_TIMEOUT_SECONDS = 30.0
"""Time after which a command counts as failed."""
QUEUE_CACHE_SECONDS = 5.0
"""Time for which one answer of squeue, or its failure, is used."""
CONTROLLER_RETRY_SECONDS = 60.0
"""Time for which a controller that did not answer is not queried again: each query could block for
half a minute."""
MAX_CLOCK_SKEW_SECONDS = 300.0
"""Largest difference between the clocks of two nodes: munge rejects older credentials."""
RUNNING_STATES = frozenset(
    "CONFIGURING RUNNING COMPLETING SUSPENDED RESIZING SIGNALING STAGE_OUT STOPPED".split()
)
WAITING_STATES = frozenset("PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT".split())
MAX_EARLY_SIGNAL_SECONDS = 60
"""Slurm may send the signal before a time limit up to this much early."""
END_REASONS = {
    "PREEMPTED": EndReason.PREEMPTED,
    "TIMEOUT": EndReason.TIMEOUT,
    "DEADLINE": EndReason.TIMEOUT,
    "OUT_OF_MEMORY": EndReason.OUT_OF_MEMORY,
    "NODE_FAIL": EndReason.NODE_FAIL,
    "BOOT_FAIL": EndReason.NODE_FAIL,
    "CANCELLED": EndReason.CANCELLED,
}
"""Slurm's state of an ended job -> end reason; any other state means `EndReason.DIED`."""
SQUEUE_COLUMNS = "JobArrayID State RestartCnt NodeList Name Reason".split()
JOB_NAME_PREFIX = "uniclip-"
"""Prefix of the name of every job that this package submits."""
FOLLOW_UP_VARIABLE = "UNICLIP_FOLLOW_UP_TOKEN"
"""Environment variable of a follow-up job: the token of its submission."""


def in_follow_up() -> bool:
    """Return whether this process is a follow-up job, without a user who waits for it."""
    return FOLLOW_UP_VARIABLE in os.environ


class Liveness(StrEnum):
    """State of a job, or of an attempt, that is not known to have ended."""

    ALIVE = "alive"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, or an array task, as squeue shows it."""

    id: str
    """123, or 123_4 for an array task."""
    state: str
    restarts: int
    node: str
    name: str
    reason: str

    @property
    def is_waiting(self) -> bool:
        """Whether it is queued: no process of it runs now, but one will."""
        return self.state in WAITING_STATES

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.is_waiting or self.state in RUNNING_STATES

    @property
    def is_held(self) -> bool:
        """Whether it waits for `scontrol release`."""
        return self.state == "PENDING" and self.reason == "JobHeldUser"

    @property
    def launch_failed(self) -> bool:
        """Whether a node could not start it, and Slurm holds it until it is released."""
        return self.is_waiting and self.reason == "launch failed requeued held"

    @property
    def obstacle(self) -> Obstacle | None:
        """What keeps it from starting; None if it runs, or only waits for its turn."""
        return find_obstacle(self.reason) if self.is_waiting else None


class Slurm:
    """The cluster that this machine submits jobs to."""

    def __init__(self) -> None:
        self._jobs: list[Job] | None = None
        self._queue_read_monotonic = self._queue_read_time = self._unanswered_at = -math.inf

    @cached_property
    def config(self) -> dict[str, str]:
        """The cluster's configuration (`scontrol show config`).

        Raises:
            UserError: Slurm is not installed on this machine.
            RetryLater: Slurm's controller does not answer.
        """
        if shutil.which("sbatch") is None:
            raise UserError("launcher=slurm: sbatch is not installed here; use launcher=local")
        recently_unanswered = time.monotonic() - self._unanswered_at < CONTROLLER_RETRY_SECONDS
        output = None if recently_unanswered else _run_for_stdout(["scontrol", "show", "config"])
        if output is None:
            self._unanswered_at = self._unanswered_at if recently_unanswered else time.monotonic()
            raise RetryLater("Slurm's controller does not answer (scontrol ping); try again later")
        return parse_config(output)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.config.get("ClusterName", "")

    @property
    def max_array_length(self) -> int:
        """Number of tasks that an array can have (Slurm limits the index, which starts at 0)."""
        return max(1, int(self.config.get("MaxArraySize", "1001")))

    def invalidate_queue(self) -> None:
        """Have the next `list_jobs` query squeue again."""
        self._queue_read_monotonic = -math.inf

    def list_jobs(self) -> list[Job] | None:
        """Return the user's queued, running and recently ended jobs; None if squeue fails."""
        if time.monotonic() - self._queue_read_monotonic > QUEUE_CACHE_SECONDS:
            columns = ",".join(f"{name}:64" for name in SQUEUE_COLUMNS)
            self._queue_read_time = time.time()
            # -a: of hidden partitions too
            options = ("--me", "-a", "-h", "-r", "-t", "all", "-O", columns)
            output = _run_for_stdout(["squeue", *options])
            self._jobs = None if output is None else parse_queue(output)
            self._queue_read_monotonic = time.monotonic()
        return self._jobs

    def find_end_reason(self, claim_record: ClaimRecord) -> EndReason | Liveness:
        """Return why the job that holds an attempt ended, or that it has not as far as is known."""
        if claim_record.job_id is None or claim_record.cluster is None:
            return Liveness.UNKNOWN
        if claim_record.job_id == get_job_id() and claim_record.restart_count < get_restart_count():
            return EndReason.RESTARTED  # an earlier start of the job that this process belongs to
        try:
            if claim_record.cluster != self.cluster:
                return Liveness.UNKNOWN
        except UserError:
            return Liveness.UNKNOWN
        queue = self.list_jobs()
        if queue is None:
            return Liveness.UNKNOWN
        matching_jobs = [j for j in queue if j.id == claim_record.job_id]
        if matching_jobs:
            end_reason = classify_state(
                matching_jobs[0].state, matching_jobs[0].restarts, claim_record
            )
            if (
                end_reason is Liveness.ALIVE
                or claim_record.time < self._queue_read_time - MAX_CLOCK_SKEW_SECONDS
            ):
                return end_reason
        # Not in the queue, or claimed after the queue was read as far as clocks can tell.
        return classify_state(
            *self._query_state(claim_record.job_id, claim_record.uid), claim_record
        )

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs or array tasks."""
        for start in range(0, len(ids), 500):
            _run_for_stdout(["scancel", *ids[start : start + 500]])
        self.invalidate_queue()

    def cancel_by_name(self, name: str) -> None:
        """Cancel the user's jobs of this name."""
        _run_for_stdout(["scancel", "--me", f"--name={name}"])
        self.invalidate_queue()

    def release(self, job: str) -> bool:
        """Release a held job; return whether Slurm accepted it."""
        self.invalidate_queue()
        return _run_for_stdout(["scontrol", "release", job]) is not None

    def _query_state(self, job: str, uid: int | None) -> tuple[str | None, int]:
        """Return state and restarts of a job of user `uid`; the state is None if unknown."""
        job_fields = query_job(job)
        if job_fields is None:
            return None, 0
        if job_fields:
            return job_fields.get("JobState"), int(job_fields.get("Restarts", 0))
        # The controller has purged the job, which it does only after the job has ended; or the job
        # is hidden from this user, which scontrol reports with the same message.
        may_be_hidden = (
            "jobs" in self.config.get("PrivateData", "").split(",") and uid != os.getuid()
        )
        return _query_accounting(job) or (None if may_be_hidden else "FORGOTTEN"), 0


def classify_state(
    state: str | None, restarts: int, claim_record: ClaimRecord
) -> EndReason | Liveness:
    """Return what the state of a job means for the attempt of that job that made the claim.

    Args:
        state: Slurm's state of the job, such as RUNNING; None if it is unknown.
        restarts: how often Slurm has started the job again.
        claim_record: the claim of the attempt.
    """
    if state is None:
        return Liveness.UNKNOWN
    if restarts > claim_record.restart_count:
        return EndReason.RESTARTED
    if state in WAITING_STATES:
        return EndReason.REQUEUED
    if state in RUNNING_STATES:
        return Liveness.ALIVE
    return END_REASONS.get(state, EndReason.DIED)


def parse_config(output: str) -> dict[str, str]:
    """Return the output of `scontrol show config` as a dictionary."""
    pairs = (line.split("=", 1) for line in output.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_queue(output: str) -> list[Job]:
    """Return the jobs in the output of squeue, which has columns of 64 characters."""
    jobs = []
    for line in output.splitlines():
        cells = [line[i : i + 64].strip() for i in range(0, 64 * len(SQUEUE_COLUMNS), 64)]
        if not cells[0][:1].isdecimal():
            continue
        job_id, state, restarts, node, name, reason = cells
        count = int(restarts) if restarts.isdecimal() else 0
        jobs.append(
            Job(id=job_id, state=state, restarts=count, node=node, name=name, reason=reason)
        )
    return jobs


def parse_job(output: str) -> dict[str, str]:
    """Return the output of `scontrol show job -o` for one job as a dictionary.

    Of a name that occurs twice the first value is returned: paths come last, and may contain spaces
    and "=".
    """
    if not output.strip():
        return {}
    pairs = re.findall(r"(?:^|\s)([^\s=]+)=(\S*)", output.splitlines()[0])
    return dict(reversed(pairs))


def query_job(job: str) -> dict[str, str] | None:
    """Return the fields of a job from scontrol; {} if it is unknown, None if scontrol fails."""
    completed = run_command("scontrol", "show", "job", "-o", "-a", job)
    if completed.returncode == 0:
        return parse_job(completed.stdout)
    return {} if "Invalid job id" in completed.stderr + completed.stdout else None


def requeue_job(job: str) -> bool:
    """Put a running job back into the queue; return whether Slurm accepted it."""
    return _run_for_stdout(["scontrol", "requeue", job]) is not None


def run_command(
    *arguments: str,
    sbatch_variables: Mapping[str, str] | None = None,
    timeout: float | None = COMMAND_TIMEOUT_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm; one that is not installed or does not end in time counts as failed.

    Args:
        arguments: the command.
        sbatch_variables: variables of sbatch that apply; all others are removed, and those that
            filter or format what other commands print.
        timeout: seconds; None to wait for the end.
    """
    try:
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env=build_command_environment(os.environ, sbatch_variables),
        )
    except subprocess.TimeoutExpired:
        message = f"no answer within {COMMAND_TIMEOUT_SECONDS:.0f} s"
        return subprocess.CompletedProcess(arguments, 1, "", message)
    except OSError as error:
        return subprocess.CompletedProcess(arguments, 127, "", f"{arguments[0]}: {error.strerror}")


def escape_file_pattern(path: str | os.PathLike[str]) -> str:
    """Return a path in which Slurm's options --output and --error read no pattern such as %j."""
    return os.fspath(path).replace("%", "%%")


def get_job_id() -> str | None:
    """Return the id of the job or array task of this process; None outside of Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def get_restart_count() -> int:
    """Return how often Slurm has started the job of this process before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def _query_accounting(job: str) -> str | None:
    output = _run_for_stdout(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"])
    lines = (output or "").split("\n")
    return lines[0].split()[0] if lines[0].strip() else None


def _run_for_stdout(command: Sequence[str]) -> str | None:
    completed = run_command(*command)
    return completed.stdout if completed.returncode == 0 else None
