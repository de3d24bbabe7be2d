"""What the store says of every cell, and one advised action for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sweeps.claims import State, look
from sweeps.price import spoken
from uniclip.store import Plan, Store

ADVICE = {
    "planned": "run",
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
    "failed": "bold red",
    "lost": "red",
    "diverged": "yellow",
    "stale": "yellow",
    "complete": "green",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell, as a person wants to see it."""

    cell: str
    run: str
    state: State

    @property
    def progress(self) -> str:
        """Step, rate and time to go, or how far it got."""
        beat = self.state.heartbeat
        if self.state.outcome is not None and self.state.kind != "running":
            return f"step {self.state.outcome.step}"
        if beat is None:
            return ""
        left = (beat.steps - beat.step) / beat.rate if beat.rate else 0
        toward = f", {spoken(left)} to go" if self.state.kind == "running" and left else ""
        return f"{beat.phase} {beat.step}/{beat.steps}{toward}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.state.kind]

    @property
    def age(self) -> str:
        """Since the last sign of life."""
        beat = self.state.heartbeat
        running = self.state.kind in ("running", "lost")
        return spoken(time.time() - beat.time) if beat and running else ""


def rows(store: Store, plan: Plan) -> list[Row]:
    """Every cell of a plan; runs that several cells share are looked at once."""
    states = {run: look(store.run(run), wanted) for run, wanted in plan.wanted().items()}
    return [Row(cell=c.name, run=c.run, state=states[c.run]) for c in plan.cells]


def summary(rows_: Iterable[Row]) -> str:
    """How many cells are in which state."""
    counts = Counter(r.state.kind for r in rows_)
    return ", ".join(f"{n} {kind}" for kind, n in counts.most_common())


def as_records(rows_: Iterable[Row]) -> list[dict[str, object]]:
    """The rows for machines."""
    return [
        {
            "cell": r.cell,
            "run": r.run,
            "state": r.state.kind,
            "attempt": r.state.attempt,
            "reason": r.state.reason,
            "step": r.state.heartbeat.step if r.state.heartbeat else None,
            "steps": r.state.heartbeat.steps if r.state.heartbeat else None,
            "advice": r.advice,
        }
        for r in rows_
    ]
