"""What cells cost: from past runs where there are any, else from probes, else "not measured"."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import Any

from analysis.collect.run_time import SECONDS_A_STEP, spending, spoken
from sweeps.costs.audit_scope import kind
from uniclip.config.compose import flat
from uniclip.identity import digest
from uniclip.io.atomic import append, lines
from uniclip.store import Arm, Cell, Plan, Store

DOUBT = 0.25
"""How far off a price may be that few steps or few runs tell, as a share of it."""
PAST_RUNS = 8
"""So many past runs of one cost class are looked at."""
FEW_RUNS = 3
"""Fewer past runs than this tell no spread of their own."""
BYTES_A_PARAMETER = 8
"""On the disk for good: float32, as they were at the end and at the best validation."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one cell takes, and where the numbers come from; None: not measured."""

    seconds: float
    """Wall time, undisturbed."""
    low: float
    high: float
    """Between these it should lie."""
    source: str
    step_seconds: float | None = None
    memory_bytes: float | None = None
    """At the peak: of the device if it has its own memory, else of the process."""
    checkpoint_bytes: float | None = None
    """One checkpoint, while it runs."""
    kept_bytes: float | None = None
    """On the disk when it is finished."""


@dataclass(frozen=True, kw_only=True)
class Total:
    """What some runs take together."""

    runs: int
    lacking: int
    """Arms of which nothing is known."""
    seconds: float
    low: float
    high: float
    """One after another, of the runs of which something is known."""
    sources: tuple[str, ...]


def prices(store: Store, plan: Plan, apart: Collection[str] = ()) -> dict[str, Price]:
    """The price of a cell of each arm; arms of which nothing is known are left out.

    What was taken on another kind of device than the plan asks for tells nothing. Arms of one cost
    class (what differs is the seed, or the stream of random draws) have one price.
    Runs in `apart` are not looked at: they are to be foretold, and some may have ended already.
    """
    tried, device = probes(store, plan), kind(plan.base["runtime"]["device"])
    stored = store.sweep(plan.sweep).plan()  # it may know more seeds
    cells = [*plan.cells, *(stored.cells if stored is not None else ())]
    runs = {c.run: c.arm for c in cells if c.run not in apart}
    classes: dict[str, list[str]] = {}
    for arm in plan.arms:
        classes.setdefault(cost_class(arm), []).append(arm.name)
    found = {}
    for names in classes.values():
        known = _past(store, [run for run, arm in runs.items() if arm in names], device)
        for name in names:
            arm = plan.arm(name)
            probe = next((tried[n] for n in (name, *names) if n in tried), None)
            price = known or (None if probe is None else _probed(plan, arm, probe))
            if price is not None:
                found[name] = price
    return found


def probes(store: Store, plan: Plan) -> dict[str, dict[str, Any]]:
    """Arm -> its newest probe on the kind of device that the plan asks for."""
    device = kind(plan.base["runtime"]["device"])
    known = lines(store.sweep(plan.sweep).probes)
    return {p["arm"]: p for p in known if p.get("device") == device}


def cost_class(arm: Arm) -> str:
    """Equal for arms that cost the same: what changes only the random draws is passed over."""
    return digest({key: value for key, value in arm.delta.items() if key != "stream"})


def total(plan: Plan, runs: Collection[str], known: Mapping[str, Price]) -> Total:
    """What runs of a plan take together; a run that several arms share is paid once."""
    arms = {c.run: c.arm for c in plan.cells if c.run in runs}
    priced = [known[a] for a in arms.values() if a in known]
    return Total(
        runs=len(arms),
        lacking=len({a for a in arms.values() if a not in known}),
        seconds=sum(p.seconds for p in priced),
        low=sum(p.low for p in priced),
        high=sum(p.high for p in priced),
        sources=tuple(sorted({p.source for p in priced})),
    )


def estimate(
    plan: Plan, runs: Collection[str], known: Mapping[str, Price], slots: int, devices: int = 0
) -> str:
    """How long the runs that are still to be run should take, in words.

    devices: GPUs that one run holds.
    """
    if not runs:
        return "nothing to run"
    sum_ = total(plan, runs, known)
    if sum_.lacking:
        rest = f"; the rest {spoken(sum_.seconds / slots)}" if sum_.seconds else ""
        return f"not measured for {sum_.lacking} arms{rest}"
    side = min(slots, sum_.runs)
    low, high = spoken(sum_.low / side), spoken(sum_.high / side)
    hours = f", {sum_.seconds * devices / 3600:.2g} GPU-hours" if devices else ""
    return (
        f"{sum_.runs} runs in about {spoken(sum_.seconds / side)} ({low} to {high}) on "
        f"{side} slots{hours} (from {' and '.join(sum_.sources)})"
    )


HEADINGS = ("time", "GPU-hours", "memory", "checkpoint")


def columns(known: Price | None, devices: int) -> tuple[str, ...]:
    """A price in words, under `HEADINGS`."""
    if known is None:
        return ("not measured", "", "", "")
    hours = f"{known.seconds * devices / 3600:.2g}" if devices else ""
    sizes = (known.memory_bytes, known.checkpoint_bytes)
    said = ("" if size is None else f"{size / 1e6:,.0f} MB" for size in sizes)
    time_ = f"{spoken(known.seconds)} ({spoken(known.low)} to {spoken(known.high)})"
    return (time_, hours, *said)


def as_record(known: Price | None, devices: int) -> dict[str, Any]:
    """A price for machines."""
    if known is None:
        return {"price": None}
    return {"price": {**asdict(known), "gpu_hours": known.seconds * devices / 3600}}


def foretell(
    store: Store, plan: Plan, runs: Collection[str], known: Mapping[str, Price], devices: int
) -> None:
    """Write down what runs should take, before they are run; what was said first stands.

    A line of `prices.jsonl` each: run, devices, time, and the fields of `Price`.
    """
    folder = store.sweep(plan.sweep)
    said = {p["run"] for p in lines(folder.prices)}
    for cell in _first_cells(plan):
        if cell.run in runs and cell.run not in said and cell.arm in known:
            price = asdict(known[cell.arm])
            append(
                folder.prices, {"run": cell.run, "devices": devices, "time": time.time(), **price}
            )


def _first_cells(plan: Plan) -> Iterator[Cell]:
    seen = set()
    for cell in plan.cells:
        if cell.run not in seen:
            seen.add(cell.run)
            yield cell


def _past(store: Store, runs: Collection[str], device: str) -> Price | None:
    """The price of such a run by those of them that have ended on this kind of device."""
    seen = list(islice(_ended(store, runs, device), PAST_RUNS))
    if not seen:
        return None
    seconds = [useful for useful, _ in seen]
    middle = median(seconds)
    few = len(seconds) < FEW_RUNS
    costs = {key: median(c[key] for _, c in seen if key in c) for key in seen[0][1]}
    return Price(
        seconds=middle,
        low=middle * (1 - DOUBT) if few else min(seconds),
        high=middle * (1 + DOUBT) if few else max(seconds),
        source="past runs",
        step_seconds=costs.get(SECONDS_A_STEP),
        memory_bytes=costs.get("peak_memory_bytes"),
        checkpoint_bytes=costs.get("checkpoint_bytes"),
        kept_bytes=_kept(costs),
    )


def _ended(
    store: Store, runs: Collection[str], device: str
) -> Iterator[tuple[float, Mapping[str, float]]]:
    """Useful seconds and costs of those runs that were trained to their end on such a device."""
    for run_id in runs:
        run = store.run(run_id)
        outcome = run.outcome()
        if outcome is None or outcome.kind != "trained":
            continue
        took = spending(run, outcome)
        if outcome.numerics.get("device") == device and took is not None:
            yield took.useful_seconds, outcome.cost


def _probed(plan: Plan, arm: Arm, probe: Mapping[str, Any]) -> Price:
    """The price of a cell by a few steps of its arm."""
    steps = (flat(plan.base) | arm.delta)["train.steps"]
    step, fixed = probe["seconds_per_step"], probe["fixed_seconds"]
    fastest, slowest = probe.get("step_spread", (step, step))
    seconds = step * steps + fixed
    return Price(
        seconds=seconds,
        low=min(fastest * steps + fixed, seconds * (1 - DOUBT)),
        high=max(slowest * steps + fixed, seconds * (1 + DOUBT)),
        source="probe",
        step_seconds=step,
        memory_bytes=probe.get("peak_memory_bytes"),
        checkpoint_bytes=probe.get("checkpoint_bytes"),
        kept_bytes=_kept(probe),
    )


def _kept(costs: Mapping[str, Any]) -> float | None:
    return costs["parameters"] * BYTES_A_PARAMETER if "parameters" in costs else None
