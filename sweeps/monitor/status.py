"""What the store says of every cell, and one advised action for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.collect.run_time import spoken
from sweeps.claims.claim import State, look
from sweeps.launchers.submissions import Submissions
from sweeps.slurm import Job, Slurm
from uniclip.errors import NotNow, UserError
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
    "stale": "kept; stale=rerun runs it again",
    "complete": "none",
}
FINAL = ("complete", "diverged", "stale")
"""What is as it should be, or stays as it is."""
STYLES = {
    "running": "cyan",
    "queued": "blue",
    "preempted": "blue",
    "failed": "bold red",
    "lost": "red",
    "diverged": "yellow",
    "stale": "yellow",
    "complete": "green",
}


UNHEARD = Job(id="", state="", restarts=0, node="", name="", reason="")
"""In the place of a job where jobs were submitted and the queue does not answer."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell, as a person wants to see it."""

    cell: str
    run: str
    state: State
    job: Job | None = None
    """The scheduler's job that has it or will take it up."""
    log: str = ""
    """Where what it printed is, if it failed."""

    @property
    def kind(self) -> str:
        """The state of the store, or that of the queue where the store waits for it."""
        if self.job is None or not self.state.open:
            return self.state.kind
        if self.job is UNHEARD:
            return "unknown"
        return "preempted" if self.state.after == "preempted" else "queued"

    @property
    def reason(self) -> str:
        """What to know beside the state."""
        if self.job is None or self.job is UNHEARD or not self.state.open:
            return f"{self.state.reason}; log: {self.log}" if self.log else self.state.reason
        waits = f"waits: {self.job.reason}" if self.job.waits else f"starts on {self.job.node}"
        before = f" (it was {self.state.after} before)" if self.state.after else ""
        return f"job {self.job.id} {waits}{before}" if self.job.id else self.job.reason

    @property
    def attempt(self) -> int:
        """Number of the newest attempt, or of the one that the outcome is of; 0 = none."""
        outcome = self.state.outcome
        return self.state.attempt or (outcome.attempt if outcome else 0)

    @property
    def step(self) -> int | None:
        """How far it is, or got; None before its first sign of life."""
        beat = self.state.heartbeat
        return self._last_step if self._last_step is not None else beat.step if beat else None

    @property
    def _last_step(self) -> int | None:
        """The outcome's, where nobody is at work on the run."""
        outcome = self.state.outcome
        return outcome.step if outcome is not None and self.state.kind != "running" else None

    @property
    def steps(self) -> int | None:
        """How many it will have, as far as it said so itself."""
        outcome, beat = self.state.outcome, self.state.heartbeat
        if outcome is not None and outcome.kind == "trained":
            return outcome.step
        return beat.steps if beat else None

    @property
    def progress(self) -> str:
        """Step, rate and time to go, or how far it got."""
        beat = self.state.heartbeat
        if self._last_step is not None:
            return f"step {self._last_step}"
        if beat is None:
            return ""
        left = self.seconds_left
        if left is None:
            return f"{beat.phase} {beat.step}/{beat.steps}"
        toward = f"{beat.rate:.3g} steps/s, {spoken(left)} to go"
        return f"{beat.phase} {beat.step}/{beat.steps}, {toward}"

    @property
    def seconds_left(self) -> float | None:
        """Of its training, at the rate of the last sign of life."""
        beat = self.state.heartbeat
        if beat is None or not beat.rate or self.state.kind != "running":
            return None
        return (beat.steps - beat.step) / beat.rate

    @property
    def place(self) -> str:
        """Where it runs, or was last heard of: the machine, and its GPU if it uses one."""
        owner = self.state.owner
        if owner is None or self.state.kind not in ("running", "lost"):
            return ""
        gpu = owner.numerics.get("model") if owner.numerics.get("device") != "cpu" else None
        return f"{owner.host}, {gpu}" if gpu else owner.host

    @property
    def advice(self) -> str:
        """What to do about it."""
        if self.job is not None and self.job.stranded and self.state.open:
            return f"scontrol release {self.job.id}, or run"
        return ADVICE[self.kind]

    @property
    def age(self) -> str:
        """Since the last sign of life."""
        beat = self.state.heartbeat
        running = self.state.kind in ("running", "lost")
        return spoken(time.time() - beat.time) if beat and running else ""


def rows(store: Store, plan: Plan) -> list[Row]:
    """Every cell of a plan; runs that several cells share are looked at once."""
    slurm = Slurm()
    wanted = plan.wanted().items()
    states = {r: look(store.run(r), asked, slurm.ending, lightly=True) for r, asked in wanted}
    jobs = _queue(store, plan, slurm)
    failed = {run: s.attempt for run, s in states.items() if s.kind == "failed"}
    logs = {run: str(store.run(run).attempt(number).log) for run, number in failed.items()}
    return [
        Row(
            cell=c.name,
            run=c.run,
            state=states[c.run],
            job=jobs.get(c.run),
            log=logs.get(c.run, ""),
        )
        for c in plan.cells
    ]


def tunings(store: Store, sweep: str) -> list[str]:
    """How far each tuning of a sweep's arms is, and the sweep of what it found, a line each."""
    newest = {folder.path.parent: folder for folder in store.sweep(sweep).rounds()}
    said = []
    for folder in (*newest.values(), *store.tuned(sweep)):
        plan = folder.plan()
        if plan is not None:
            said.append(f"{folder.id}: {summary(rows(store, plan))}")
    return said


def _queue(store: Store, plan: Plan, slurm: Slurm) -> dict[str, Job]:
    """Run -> its job; nothing where nothing was ever submitted, or there is no Slurm here."""
    folder = store.sweep(plan.sweep)
    if not folder.submissions.exists():
        return {}
    try:
        _ = slurm.facts
        return Submissions(folder, slurm).queued()
    except NotNow:
        return dict.fromkeys(plan.wanted(), UNHEARD)
    except UserError:
        return {}


def summary(rows_: Iterable[Row]) -> str:
    """How many cells are in which state."""
    counts = Counter(r.kind for r in rows_)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def as_records(rows_: Iterable[Row]) -> list[dict[str, object]]:
    """The rows for machines."""
    return [
        {
            "cell": r.cell,
            "run": r.run,
            "state": r.kind,
            "attempt": r.attempt,
            "reason": r.reason,
            "log": r.log or None,
            "phase": r.state.heartbeat.phase if r.state.heartbeat else None,
            "step": r.step,
            "steps": r.steps,
            "last_sign": r.state.heartbeat.time if r.state.heartbeat else None,
            "job": (r.job.id if r.job else r.state.owner.job if r.state.owner else None) or None,
            "rate": r.state.heartbeat.rate if r.state.heartbeat else None,
            "seconds_left": r.seconds_left,
            "host": r.state.owner.host if r.state.owner else None,
            "place": r.place,
            "advice": r.advice,
        }
        for r in rows_
    ]
