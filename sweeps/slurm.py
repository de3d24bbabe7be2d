"""Slurm as a witness: which jobs wait, run or have ended, and what the cluster allows.

Asked in this order: squeue (every job of the user in one call), scontrol (one job), sacct (how a
job ended, where there is accounting). None of them is required: what no one knows is unknown.
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
from functools import cached_property
from typing import Literal

from uniclip.errors import RetryLater, UserError
from uniclip.store import ClaimRecord

COMMAND_TIMEOUT_SECONDS = 30.0
"""A command that has not answered by then has no answer."""
QUEUE_CACHE_SECONDS = 5.0
"""A look at the queue, also one that saw nothing, is good for so long."""
CONTROLLER_RETRY_SECONDS = 60.0
"""A controller that has not answered is not asked again for so long: each time could take half a
minute."""
MAX_CLOCK_SKEW_SECONDS = 300.0
"""By so much clocks may differ: munge takes no credential that is older."""
RUNNING_STATES = frozenset(
    "CONFIGURING RUNNING COMPLETING SUSPENDED RESIZING SIGNALING STAGE_OUT STOPPED".split()
)
WAITING_STATES = frozenset("PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT".split())
MAX_EARLY_SIGNAL_SECONDS = 60
"""By so much Slurm may be early with the signal before a time limit."""
END_REASONS = {
    "PREEMPTED": "preempted",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "node failed",
    "BOOT_FAIL": "node failed",
    "CANCELLED": "cancelled",
}
"""What Slurm calls the end of a job, in our words; any other end is "died"."""
EndReason = Literal["alive", "unknown"] | str
SQUEUE_COLUMNS = "JobArrayID State RestartCnt NodeList Name Reason".split()
JOB_NAME_PREFIX = "uniclip-"
"""Every job's name begins so."""
REQUEST_VARIABLE_PREFIXES = ("SLURM_", "SBATCH_", "SUBMITIT_", "SRUN_")
PRESERVED_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")
FOLLOW_UP_VARIABLE = "UNICLIP_FOLLOW_UP_TOKEN"
"""Environment variable of a follow-up job: the token of its submission."""


def in_follow_up() -> bool:
    """Return whether this process is a follow-up job, without a user who waits for it."""
    return FOLLOW_UP_VARIABLE in os.environ


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job, or an element of an array, as the queue shows it."""

    id: str
    """123, or 123_4 for an element of an array."""
    state: str
    restarts: int
    node: str
    name: str
    reason: str

    @property
    def is_waiting(self) -> bool:
        """Whether no process of it runs now, but one will."""
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
        """Whether a node could not start it, and Slurm holds it until somebody lets it go."""
        return self.is_waiting and self.reason == "launch failed requeued held"


class Slurm:
    """The cluster that this machine submits to."""

    def __init__(self) -> None:
        self._jobs: list[Job] | None = None
        self._queue_read_monotonic = self._queue_read_time = self._unanswered_at = -math.inf

    @cached_property
    def config(self) -> dict[str, str]:
        """The cluster's configuration (`scontrol show config`).

        Raises:
            UserError: there is no Slurm here.
            NotNow: its controller does not answer.
        """
        if shutil.which("sbatch") is None:
            raise UserError("launcher=slurm: there is no sbatch here; use launcher=local")
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
        """Elements that one array can have (the limit is on the index, which starts at 0)."""
        return max(1, int(self.config.get("MaxArraySize", "1001")))

    def invalidate_queue(self) -> None:
        """The queue has changed: who asks next looks again."""
        self._queue_read_monotonic = -math.inf

    def list_jobs(self) -> list[Job] | None:
        """The user's jobs that wait, run or ended lately; None if the queue does not answer."""
        if time.monotonic() - self._queue_read_monotonic > QUEUE_CACHE_SECONDS:
            columns = ",".join(f"{name}:64" for name in SQUEUE_COLUMNS)
            self._queue_read_time = time.time()
            output = _run_for_stdout(["squeue", "--me", "-h", "-r", "-t", "all", "-O", columns])
            self._jobs = None if output is None else parse_queue(output)
            self._queue_read_monotonic = time.monotonic()
        return self._jobs

    def find_end_reason(self, claim_record: ClaimRecord) -> EndReason:
        """How the job that held an attempt ended: "alive", "unknown", or in our words."""
        if claim_record.job_id is None or claim_record.cluster is None:
            return "unknown"
        if claim_record.job_id == get_job_id() and claim_record.restart_count < get_restart_count():
            return "restarted"  # this very job, started again: the last start is over
        try:
            if claim_record.cluster != self.cluster:
                return "unknown"
        except UserError:
            return "unknown"
        queue = self.list_jobs()
        if queue is None:
            return "unknown"
        matching_jobs = [j for j in queue if j.id == claim_record.job_id]
        if matching_jobs:
            end_reason = classify_state(
                matching_jobs[0].state, matching_jobs[0].restarts, claim_record
            )
            if (
                end_reason == "alive"
                or claim_record.time < self._queue_read_time - MAX_CLOCK_SKEW_SECONDS
            ):
                return end_reason
        # Not in the queue, or claimed so lately that this look at it may be the older one.
        return classify_state(
            *self._query_state(claim_record.job_id, claim_record.uid), claim_record
        )

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs or elements."""
        for start in range(0, len(ids), 500):
            _run_for_stdout(["scancel", *ids[start : start + 500]])
        self.invalidate_queue()

    def cancel_by_name(self, name: str) -> None:
        """Cancel the user's jobs of that name."""
        _run_for_stdout(["scancel", "--me", f"--name={name}"])
        self.invalidate_queue()

    def release(self, job: str) -> bool:
        """Let a held job go; whether Slurm did."""
        self.invalidate_queue()
        return _run_for_stdout(["scontrol", "release", job]) is not None

    def _query_state(self, job: str, uid: int | None) -> tuple[str | None, int]:
        """State and restarts of a job of user `uid`; None for a state that no one tells."""
        job_fields = query_job(job)
        if job_fields is None:
            return None, 0
        if job_fields:
            return job_fields.get("JobState"), int(job_fields.get("Restarts", 0))
        # The controller has forgotten it: it never forgets a job that has not ended. Or it hides
        # it, in the very same words.
        may_be_hidden = (
            "jobs" in self.config.get("PrivateData", "").split(",") and uid != os.getuid()
        )
        return _query_accounting(job) or (None if may_be_hidden else "FORGOTTEN"), 0


def classify_state(state: str | None, restarts: int, claim_record: ClaimRecord) -> EndReason:
    """What a job's state says of the attempt that `owner` held."""
    if state is None:
        return "unknown"
    if restarts > claim_record.restart_count:
        return "restarted"
    if state in WAITING_STATES:
        return "requeued"
    if state in RUNNING_STATES:
        return "alive"
    return END_REASONS.get(state, "died")


def parse_config(output: str) -> dict[str, str]:
    """`scontrol show config` as a dictionary."""
    pairs = (line.split("=", 1) for line in output.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_queue(output: str) -> list[Job]:
    """What squeue prints, columns of 64 characters."""
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
    """`scontrol show job -o` of one job as a dictionary."""
    return dict(re.findall(r"(\S+?)=(\S*)", output.splitlines()[0])) if output.strip() else {}


def query_job(job: str) -> dict[str, str] | None:
    """What scontrol says of a job: {} if it knows none of that name, None if it does not answer."""
    completed = run_command("scontrol", "show", "job", "-o", job)
    if completed.returncode == 0:
        return parse_job(completed.stdout)
    return {} if "Invalid job id" in completed.stderr + completed.stdout else None


def requeue_job(job: str) -> bool:
    """Put this running job back into the queue; whether Slurm did."""
    return _run_for_stdout(["scontrol", "requeue", job]) is not None


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """How a command went; one that is not there or does not answer has failed."""
    try:
        return subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            env=drop_request_variables(os.environ),
        )
    except subprocess.TimeoutExpired:
        message = f"no answer within {COMMAND_TIMEOUT_SECONDS:.0f} s"
        return subprocess.CompletedProcess(arguments, 1, "", message)
    except OSError as error:
        return subprocess.CompletedProcess(arguments, 127, "", f"{arguments[0]}: {error.strerror}")


def get_job_id() -> str | None:
    """The job, or element of an array, that this process is in; None outside of Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def get_restart_count() -> int:
    """How often Slurm started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def drop_request_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what the job around us asked for: sbatch would take it up."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(REQUEST_VARIABLE_PREFIXES) or name in PRESERVED_VARIABLES
    }


def _query_accounting(job: str) -> str | None:
    output = _run_for_stdout(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"])
    lines = (output or "").split("\n")
    return lines[0].split()[0] if lines[0].strip() else None


def _run_for_stdout(command: Sequence[str]) -> str | None:
    completed = run_command(*command)
    return completed.stdout if completed.returncode == 0 else None
