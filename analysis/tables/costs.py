"""What a sweep cost: a bill by run for the store, and a short table by arm for the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.collect.export import csv_text
from analysis.collect.frame import WITHOUT_OUTCOME, Gathered
from analysis.collect.run_time import spoken
from analysis.results import comparability
from analysis.tables.table import Table, entries


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Costs; never part of `tables/`, because they differ from machine to machine."""

    csv: str
    """One row a cell; arms that coincide share a run, which is paid for once (`shared`)."""
    table: Table
    """Medians by arm."""


def bill(gathered: Gathered) -> Bill:
    """The bill of what was gathered."""
    costs = gathered.costs.copy()
    costs["shared"] = costs["run"].duplicated()
    flops = {p["arm"]: p["flops_per_step"] for p in gathered.probes if "flops_per_step" in p}
    costs["flops_per_step"] = costs["arm"].map(flops)
    if {"gpus", "wall_seconds"} <= set(costs):
        costs["gpu_hours"] = costs["wall_seconds"] * costs["gpus"] / 3600
        costs["predicted_gpu_hours"] = costs["predicted_seconds"] * costs["gpus"] / 3600
    return Bill(csv=csv_text(costs), table=_by_arm(gathered, costs))


def compared(costs: pd.DataFrame) -> list[str]:
    """Prediction against bill, and what interruptions cost, in sentences; each run is paid once."""
    said = []
    paid = costs[~costs["shared"]]
    if {"predicted_seconds", "wall_seconds"} <= set(paid):
        both = _finished(paid).dropna(subset=["predicted_seconds", "wall_seconds"])
        if len(both):
            said.append(_prediction(both))
    ends = {str(c)[6:]: int(paid[c].sum()) for c in paid if str(c).startswith("ended_")}
    if sum(ends.values()):
        lost, took = paid["lost_seconds"].sum(), paid["wall_seconds"].sum()
        how = ", ".join(f"{n} {end.replace('_', ' ')}" for end, n in ends.items() if n)
        said.append(
            f"Preemption and other interruptions ({how}) cost {spoken(lost)} of {spoken(took)}."
        )
    return said


def _finished(costs: pd.DataFrame) -> pd.DataFrame:
    """Those of runs with an outcome: what the others took so far is no measure of a run."""
    return costs[~costs["state"].isin(WITHOUT_OUTCOME)]


def _prediction(both: pd.DataFrame) -> str:
    """Of runs that were priced before they ran, and have ended."""
    low, middle, high = (both[f"predicted_{name}"].sum() for name in ("low", "seconds", "high"))
    took = both["wall_seconds"].sum()
    inside = both["wall_seconds"].between(both["predicted_low"], both["predicted_high"]).sum()
    hours = ""
    if both["gpus"].any():
        gpu = (both["wall_seconds"] * both["gpus"]).sum() / 3600
        told = (both["predicted_seconds"] * both["gpus"]).sum() / 3600
        hours = f" GPU-hours: {told:.2g} foretold, {gpu:.2g} billed."
    return (
        f"Foretold for {len(both)} runs: {spoken(middle)} ({spoken(low)} to {spoken(high)}); "
        f"billed: {spoken(took)} ({took / middle - 1:+.0%}); {inside} of {len(both)} runs lie "
        f"within their interval.{hours}"
    )


def _stamps(gathered: Gathered, costs: pd.DataFrame) -> list[str]:
    """What the contrasts hold equal of what was measured here, as `stamps` says it of counts."""
    units = {
        "training_seconds": ("training seconds", 1.0),
        "peak_memory_bytes": (comparability.MEMORY, 1e6),
    }
    known: dict[str, dict[str, float | None]] = {arm.name: {} for arm in gathered.plan.arms}
    for column, (said, unit) in units.items():
        if column in costs:
            for arm, value in costs.groupby("arm")[column].median().dropna().items():
                known[str(arm)][said] = float(value) / unit
    within = {said: comparability.ALIKE for said, _ in units.values()}
    drawn = [c for c in gathered.plan.contrasts if c.kind != "noise"]
    stamped = {c.label: comparability.stamp(known, c, within) for c in drawn}
    told = [
        f"{label}: {stamp}." for label, stamp in stamped.items() if stamp != comparability.UNKNOWN
    ]
    first = f"Training time and peak memory count as equal within {comparability.ALIKE:.0%}."
    return [first, *told] if told else []


def _by_arm(gathered: Gathered, costs: pd.DataFrame) -> Table:
    columns = {
        "image_forwards_a_sample": ("image forwards a sample", "{:g}"),
        "training_seconds": ("training seconds a run", "{:.1f}"),
        "wall_seconds": ("seconds a run", "{:.1f}"),
        "predicted_seconds": ("foretold", "{:.1f}"),
        "seconds_per_step": ("seconds a step", "{:.3f}"),
        "flops_per_step": ("floating-point operations a step", "{:.3g}"),
        "parameters": ("parameters", "{:,.0f}"),
        "peak_memory_bytes": ("peak memory (MB)", "{:,.0f}"),
    }
    shown = {c: v for c, v in columns.items() if c in costs and costs[c].notna().any()}
    rows = []
    for arm in gathered.plan.arms:
        own = costs[costs["arm"] == arm.name]
        texts = []
        for column, (_, form) in shown.items():
            measured = _finished(own) if column == "wall_seconds" else own
            value = measured[column].median() / (1e6 if column.endswith("_bytes") else 1)
            texts.append(form.format(value) if value == value else "")
        rows.append(entries(arm.label, *texts))
    note = "Medians over seeds. The bill by run is bill.csv in the sweep's folder."
    if "training_seconds" in costs:
        hours = costs.loc[~costs["shared"], "training_seconds"].sum() / 3600
        note += f" Training took {hours:.2f} hours of this machine's slots in all."
    notes = (note, *_stamps(gathered, costs), *compared(costs))
    headings = ("arm", *(heading for heading, _ in shown.values()))
    return Table(
        name="costs",
        title="What the arms cost here",
        headings=headings,
        rows=tuple(rows),
        records=(),
        notes=notes,
    )
