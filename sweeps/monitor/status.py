"""What the store says of every cell, and one advised action for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.collect.run_time import format_duration
from sweeps.claims.claim import RunState, inspect_run
from sweeps.launchers.submissions import Submissions
from sweeps.slurm import Job, Slurm
from uniclip.errors import RetryLater, UserError
from uniclip.store import Plan, Store

ADVICE = {
    "planned": "run",
    "queued": "wait",
    "unknown": "wait: Slurm does not answer",
    "preempted": "wait: it goes on by itself",
    "interrupted": "run",
    "due": "run",
    "halted": "run",
    "running": "wait",
    "lost": "retry --force, if you know that it is dead",
    "failed": "logs, then retry",
    "diverged": "final; retry=diverged runs it again",
    "stale": "kept; outdated=rerun runs it again",
    "complete": "none",
}
FINAL_STATUSES = ("complete", "diverged", "stale")
"""What is as it should be, or stays as it is."""
STATUS_STYLES = {
    "running": "cyan",
    "queued": "blue",
    "preempted": "blue",
    "failed": "bold red",
    "lost": "red",
    "diverged": "yellow",
    "stale": "yellow",
    "complete": "green",
}


UNKNOWN_JOB = Job(id="", state="", restarts=0, node="", name="", reason="")
"""In the place of a job where jobs were submitted and the queue does not answer."""


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """One cell, as a person wants to see it."""

    cell: str
    run: str
    state: RunState
    job: Job | None = None
    """The scheduler's job that has it or will take it up."""
    log_path: str = ""
    """Where what it printed is, if it failed."""

    @property
    def status(self) -> str:
        """The state of the store, or that of the queue where the store waits for it."""
        if self.job is None or not self.state.is_runnable:
            return self.state.status
        if self.job is UNKNOWN_JOB:
            return "unknown"
        return "preempted" if self.state.end_reason == "preempted" else "queued"

    @property
    def reason(self) -> str:
        """What to know beside the state."""
        if self.job is None or self.job is UNKNOWN_JOB or not self.state.is_runnable:
            return (
                f"{self.state.reason}; log: {self.log_path}" if self.log_path else self.state.reason
            )
        job_position = (
            f"waits: {self.job.reason}" if self.job.is_waiting else f"starts on {self.job.node}"
        )
        previous_end = f" (it was {self.state.end_reason} before)" if self.state.end_reason else ""
        return f"job {self.job.id} {job_position}{previous_end}" if self.job.id else self.job.reason

    @property
    def attempt(self) -> int:
        """Number of the newest attempt, or of the one that the outcome is of; 0 = none."""
        outcome = self.state.outcome
        return self.state.attempt or (outcome.attempt if outcome else 0)

    @property
    def step(self) -> int | None:
        """How far it is, or got; None before its first sign of life."""
        heartbeat = self.state.heartbeat
        return (
            self._outcome_step
            if self._outcome_step is not None
            else heartbeat.step
            if heartbeat
            else None
        )

    @property
    def _outcome_step(self) -> int | None:
        """The outcome's, where nobody is at work on the run."""
        outcome = self.state.outcome
        return outcome.step if outcome is not None and self.state.status != "running" else None

    @property
    def total_steps(self) -> int | None:
        """How many it will have, as far as it said so itself."""
        outcome, heartbeat = self.state.outcome, self.state.heartbeat
        if outcome is not None and outcome.kind == "trained":
            return outcome.step
        return heartbeat.total_steps if heartbeat else None

    @property
    def progress(self) -> str:
        """Step, rate and time to go, or how far it got."""
        heartbeat = self.state.heartbeat
        if self._outcome_step is not None:
            return f"step {self._outcome_step}"
        if heartbeat is None:
            return ""
        seconds_left = self.seconds_left
        if seconds_left is None:
            return f"{heartbeat.phase} {heartbeat.step}/{heartbeat.total_steps}"
        rate_and_remaining = (
            f"{heartbeat.steps_per_second:.3g} steps/s, {format_duration(seconds_left)} to go"
        )
        return f"{heartbeat.phase} {heartbeat.step}/{heartbeat.total_steps}, {rate_and_remaining}"

    @property
    def seconds_left(self) -> float | None:
        """Of its training, at the rate of the last sign of life."""
        heartbeat = self.state.heartbeat
        if heartbeat is None or not heartbeat.steps_per_second or self.state.status != "running":
            return None
        return (heartbeat.total_steps - heartbeat.step) / heartbeat.steps_per_second

    @property
    def location(self) -> str:
        """Where it runs, or was last heard of: the machine, and its GPU if it uses one."""
        claim_record = self.state.claim_record
        if claim_record is None or self.state.status not in ("running", "lost"):
            return ""
        gpu = (
            claim_record.numerics_class.get("model")
            if claim_record.numerics_class.get("device") != "cpu"
            else None
        )
        return f"{claim_record.host}, {gpu}" if gpu else claim_record.host

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.job is not None and self.job.launch_failed and self.state.is_runnable:
            return f"scontrol release {self.job.id}, or run"
        return ADVICE[self.status]

    @property
    def heartbeat_age(self) -> str:
        """Since the last sign of life."""
        heartbeat = self.state.heartbeat
        is_running = self.state.status in ("running", "lost")
        return format_duration(time.time() - heartbeat.time) if heartbeat and is_running else ""


def build_rows(store: Store, plan: Plan) -> list[CellRow]:
    """Every cell of a plan; runs that several cells share are looked at once."""
    slurm = Slurm()
    required_evaluations = plan.required_evaluations().items()
    states = {
        r: inspect_run(store.get_run(r), evaluations, slurm.find_end_reason, trust_heartbeat=True)
        for r, evaluations in required_evaluations
    }
    jobs = _find_jobs(store, plan, slurm)
    failed_attempts = {run: s.attempt for run, s in states.items() if s.status == "failed"}
    logs = {
        run: str(store.get_run(run).get_attempt(attempt_number).log_path)
        for run, attempt_number in failed_attempts.items()
    }
    return [
        CellRow(
            cell=c.name,
            run=c.run_id,
            state=states[c.run_id],
            job=jobs.get(c.run_id),
            log_path=logs.get(c.run_id, ""),
        )
        for c in plan.cells
    ]


def describe_tunings(store: Store, sweep: str) -> list[str]:
    """How far each tuning of a sweep's arms is, and the sweep of what it found, a line each."""
    newest_rounds = {folder.path.parent: folder for folder in store.get_sweep(sweep).list_rounds()}
    descriptions = []
    for folder in (*newest_rounds.values(), *store.iter_tuned_sweeps(sweep)):
        plan = folder.read_plan()
        if plan is not None:
            descriptions.append(f"{folder.id}: {describe_counts(build_rows(store, plan))}")
    return descriptions


def _find_jobs(store: Store, plan: Plan, slurm: Slurm) -> dict[str, Job]:
    """Run -> its job; nothing where nothing was ever submitted, or there is no Slurm here."""
    sweep_folder = store.get_sweep(plan.sweep_id)
    if not sweep_folder.submissions_path.exists():
        return {}
    try:
        _ = slurm.config
        return Submissions(sweep_folder, slurm).map_runs_to_jobs()
    except RetryLater:
        return dict.fromkeys(plan.required_evaluations(), UNKNOWN_JOB)
    except UserError:
        return {}


def describe_counts(cell_rows: Iterable[CellRow]) -> str:
    """How many cells are in which state."""
    counts = Counter(r.status for r in cell_rows)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def to_records(cell_rows: Iterable[CellRow]) -> list[dict[str, object]]:
    """The rows for machines."""
    return [
        {
            "cell": r.cell,
            "run": r.run,
            "state": r.status,
            "attempt": r.attempt,
            "reason": r.reason,
            "log": r.log_path or None,
            "phase": r.state.heartbeat.phase if r.state.heartbeat else None,
            "step": r.step,
            "steps": r.total_steps,
            "last_sign": r.state.heartbeat.time if r.state.heartbeat else None,
            "job": (
                r.job.id if r.job else r.state.claim_record.job_id if r.state.claim_record else None
            )
            or None,
            "rate": r.state.heartbeat.steps_per_second if r.state.heartbeat else None,
            "seconds_left": r.seconds_left,
            "host": r.state.claim_record.host if r.state.claim_record else None,
            "place": r.location,
            "advice": r.advice,
        }
        for r in cell_rows
    ]
