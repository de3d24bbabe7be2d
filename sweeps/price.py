"""What cells cost: from past runs where there are any, else from probes, else "not measured"."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median

from uniclip.compose import flat
from uniclip.store import Plan, RunFolder, Store, lines


@dataclass(frozen=True, kw_only=True)
class Price:
    """Seconds of wall time of one cell, and where the number comes from."""

    seconds: float
    source: str


def prices(store: Store, plan: Plan) -> dict[str, Price]:
    """The price of a cell of each arm; arms of which nothing is known are left out."""
    probes = {p["arm"]: p for p in lines(store.sweep(plan.sweep).probes)}
    found = {}
    for arm in plan.arms:
        past = [s for c in plan.cells if c.arm == arm.name and (s := spent(store.run(c.run)))]
        if past:
            found[arm.name] = Price(seconds=median(past), source="past runs")
        elif arm.name in probes:
            probe = probes[arm.name]
            steps = flat(plan.base) | arm.delta
            seconds = probe["seconds_per_step"] * steps["train.steps"] + probe["fixed_seconds"]
            found[arm.name] = Price(seconds=seconds, source="probe")
    return found


def estimate(plan: Plan, runs: Collection[str], known: Mapping[str, Price], slots: int) -> str:
    """How long the runs that are still to be run should take, in words."""
    arms = {c.run: c.arm for c in plan.cells if c.run in runs}
    if not arms:
        return "nothing to run"
    lacking = sorted({a for a in arms.values() if a not in known})
    seconds = sum(known[a].seconds for a in arms.values() if a in known) / slots
    if lacking:
        return f"not measured for {len(lacking)} arms" + (
            f"; the rest {spoken(seconds)}" if seconds else ""
        )
    sources = " and ".join(sorted({known[a].source for a in arms.values()}))
    return f"{len(arms)} runs in about {spoken(seconds)} on {slots} slots (from {sources})"


def spent(run: RunFolder) -> float | None:
    """Wall seconds that a finished run took over all its attempts; None if it is not finished."""
    total = 0.0
    finished = False
    for number in run.attempts():
        attempt = run.attempt(number)
        owner, ended, beat = attempt.owner(), attempt.ended(), attempt.heartbeat()
        last = ended.time if ended else beat.time if beat else None
        if owner and last:
            total += last - owner.time
        finished |= ended is not None and ended.kind in ("trained", "diverged")
    return total if finished else None


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
