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

from uniclip.errors import NotNow, UserError
from uniclip.store import Owner

ANSWER_SECONDS = 30.0
"""A command that has not answered by then has no answer."""
FRESH_SECONDS = 5.0
"""A look at the queue, also one that saw nothing, is good for so long."""
SILENT_SECONDS = 60.0
"""A controller that has not answered is not asked again for so long: each time could take half a
minute."""
SKEW_SECONDS = 300.0
"""By so much clocks may differ: munge takes no credential that is older."""
LIVE = frozenset(
    "CONFIGURING RUNNING COMPLETING SUSPENDED RESIZING SIGNALING STAGE_OUT STOPPED".split()
)
WAITING = frozenset("PENDING REQUEUED REQUEUE_FED REQUEUE_HOLD SPECIAL_EXIT".split())
EARLY_SECONDS = 60
"""By so much Slurm may be early with the signal before a time limit."""
WORDS = {
    "PREEMPTED": "preempted",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "node failed",
    "BOOT_FAIL": "node failed",
    "CANCELLED": "cancelled",
}
"""What Slurm calls the end of a job, in our words; any other end is "died"."""
Ending = Literal["alive", "unknown"] | str
COLUMNS = "JobArrayID State RestartCnt NodeList Name Reason".split()
OURS = "uniclip-"
"""Every job's name begins so."""
REQUEST_VARIABLES = ("SLURM_", "SBATCH_", "SUBMITIT_", "SRUN_")
KEPT_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS")


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
    def waits(self) -> bool:
        """Whether no process of it runs now, but one will."""
        return self.state in WAITING

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.waits or self.state in LIVE

    @property
    def held(self) -> bool:
        """Whether it waits for `scontrol release`."""
        return self.state == "PENDING" and self.reason == "JobHeldUser"

    @property
    def stranded(self) -> bool:
        """Whether a node could not start it, and Slurm holds it until somebody lets it go."""
        return self.waits and self.reason == "launch failed requeued held"


class Slurm:
    """The cluster that this machine submits to."""

    def __init__(self) -> None:
        self._jobs: list[Job] | None = None
        self._looked = self._looked_at = self._unheard = -math.inf

    @cached_property
    def facts(self) -> dict[str, str]:
        """The cluster's configuration (`scontrol show config`).

        Raises:
            UserError: there is no Slurm here.
            NotNow: its controller does not answer.
        """
        if shutil.which("sbatch") is None:
            raise UserError("launcher=slurm: there is no sbatch here; use launcher=local")
        silent = time.monotonic() - self._unheard < SILENT_SECONDS
        said = None if silent else _said(["scontrol", "show", "config"])
        if said is None:
            self._unheard = self._unheard if silent else time.monotonic()
            raise NotNow("Slurm's controller does not answer (scontrol ping); try again later")
        return parse_config(said)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.facts.get("ClusterName", "")

    @property
    def longest_array(self) -> int:
        """Elements that one array can have (the limit is on the index, which starts at 0)."""
        return max(1, int(self.facts.get("MaxArraySize", "1001")))

    def forget(self) -> None:
        """The queue has changed: who asks next looks again."""
        self._looked = -math.inf

    def jobs(self) -> list[Job] | None:
        """The user's jobs that wait, run or ended lately; None if the queue does not answer."""
        if time.monotonic() - self._looked > FRESH_SECONDS:
            columns = ",".join(f"{name}:64" for name in COLUMNS)
            self._looked_at = time.time()
            said = _said(["squeue", "--me", "-h", "-r", "-t", "all", "-O", columns])
            self._jobs = None if said is None else parse_queue(said)
            self._looked = time.monotonic()
        return self._jobs

    def ending(self, owner: Owner) -> Ending:
        """How the job that held an attempt ended: "alive", "unknown", or in our words."""
        if owner.job is None or owner.cluster is None:
            return "unknown"
        if owner.job == this_job() and owner.restart < restart_count():
            return "restarted"  # this very job, started again: the last start is over
        try:
            if owner.cluster != self.cluster:
                return "unknown"
        except UserError:
            return "unknown"
        queue = self.jobs()
        if queue is None:
            return "unknown"
        seen = [j for j in queue if j.id == owner.job]
        if seen:
            word = judged(seen[0].state, seen[0].restarts, owner)
            if word == "alive" or owner.time < self._looked_at - SKEW_SECONDS:
                return word
        # Not in the queue, or claimed so lately that this look at it may be the older one.
        return judged(*self._shown(owner.job, owner.uid), owner)

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancel jobs or elements."""
        for start in range(0, len(ids), 500):
            _said(["scancel", *ids[start : start + 500]])
        self.forget()

    def cancel_named(self, name: str) -> None:
        """Cancel the user's jobs of that name."""
        _said(["scancel", "--me", f"--name={name}"])
        self.forget()

    def release(self, job: str) -> bool:
        """Let a held job go; whether Slurm did."""
        self.forget()
        return _said(["scontrol", "release", job]) is not None

    def _shown(self, job: str, uid: int | None) -> tuple[str | None, int]:
        """State and restarts of a job of user `uid`; None for a state that no one tells."""
        facts = shown(job)
        if facts is None:
            return None, 0
        if facts:
            return facts.get("JobState"), int(facts.get("Restarts", 0))
        # The controller has forgotten it: it never forgets a job that has not ended. Or it hides
        # it, in the very same words.
        hides = "jobs" in self.facts.get("PrivateData", "").split(",") and uid != os.getuid()
        return _accounted(job) or (None if hides else "FORGOTTEN"), 0


def judged(state: str | None, restarts: int, owner: Owner) -> Ending:
    """What a job's state says of the attempt that `owner` held."""
    if state is None:
        return "unknown"
    if restarts > owner.restart:
        return "restarted"
    if state in WAITING:
        return "requeued"
    if state in LIVE:
        return "alive"
    return WORDS.get(state, "died")


def parse_config(said: str) -> dict[str, str]:
    """`scontrol show config` as a dictionary."""
    pairs = (line.split("=", 1) for line in said.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def parse_queue(said: str) -> list[Job]:
    """What squeue prints, columns of 64 characters."""
    jobs = []
    for line in said.splitlines():
        cut = [line[i : i + 64].strip() for i in range(0, 64 * len(COLUMNS), 64)]
        if not cut[0][:1].isdecimal():
            continue
        id_, state, restarts, node, name, reason = cut
        count = int(restarts) if restarts.isdecimal() else 0
        jobs.append(Job(id=id_, state=state, restarts=count, node=node, name=name, reason=reason))
    return jobs


def parse_job(said: str) -> dict[str, str]:
    """`scontrol show job -o` of one job as a dictionary."""
    return dict(re.findall(r"(\S+?)=(\S*)", said.splitlines()[0])) if said.strip() else {}


def shown(job: str) -> dict[str, str] | None:
    """What scontrol says of a job: {} if it knows none of that name, None if it does not answer."""
    done = ask("scontrol", "show", "job", "-o", job)
    if done.returncode == 0:
        return parse_job(done.stdout)
    return {} if "Invalid job id" in done.stderr + done.stdout else None


def requeue(job: str) -> bool:
    """Put this running job back into the queue; whether Slurm did."""
    return _said(["scontrol", "requeue", job]) is not None


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """How a command went; one that is not there or does not answer has failed."""
    try:
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            env=requests_forgotten(os.environ),
        )
    except subprocess.TimeoutExpired:
        said = f"no answer within {ANSWER_SECONDS:.0f} s"
        return subprocess.CompletedProcess(words, 1, "", said)
    except OSError as error:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]}: {error.strerror}")


def this_job() -> str | None:
    """The job, or element of an array, that this process is in; None outside of Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")


def restart_count() -> int:
    """How often Slurm started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def requests_forgotten(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what the job around us asked for: sbatch would take it up."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(REQUEST_VARIABLES) or name in KEPT_VARIABLES
    }


def _accounted(job: str) -> str | None:
    said = _said(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"])
    lines = (said or "").split("\n")
    return lines[0].split()[0] if lines[0].strip() else None


def _said(command: Sequence[str]) -> str | None:
    done = ask(*command)
    return done.stdout if done.returncode == 0 else None
