"""What a sweep cost: a bill by run for the store, and a short table by arm for the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.collect.export import format_csv
from analysis.collect.frame import STATUSES_WITHOUT_OUTCOME, SweepData
from analysis.collect.run_time import format_duration
from analysis.results import comparability
from analysis.tables.table import Table, make_row


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """Costs; never part of `tables/`, because they differ from machine to machine."""

    csv: str
    """One row a cell; arms that coincide share a run, which is paid for once (`shared`)."""
    table: Table
    """Medians by arm."""


def build_cost_report(sweep_data: SweepData) -> CostReport:
    """The bill of what was gathered."""
    costs = sweep_data.costs.copy()
    costs["shared"] = costs["run"].duplicated()
    flops_by_arm = {
        p["arm"]: p["flops_per_step"] for p in sweep_data.probes if "flops_per_step" in p
    }
    costs["flops_per_step"] = costs["arm"].map(flops_by_arm)
    if {"gpus", "wall_seconds"} <= set(costs):
        costs["gpu_hours"] = costs["wall_seconds"] * costs["gpus"] / 3600
        costs["predicted_gpu_hours"] = costs["predicted_seconds"] * costs["gpus"] / 3600
    return CostReport(csv=format_csv(costs), table=_build_arm_table(sweep_data, costs))


def describe_measured_costs(costs: pd.DataFrame) -> list[str]:
    """Prediction against bill, and what interruptions cost, in sentences; each run is paid once."""
    sentences = []
    unique_runs = costs[~costs["shared"]]
    if {"predicted_seconds", "wall_seconds"} <= set(unique_runs):
        predicted_runs = _select_finished(unique_runs).dropna(
            subset=["predicted_seconds", "wall_seconds"]
        )
        if len(predicted_runs):
            sentences.append(_describe_prediction(predicted_runs))
    end_counts = {
        str(c)[6:]: int(unique_runs[c].sum()) for c in unique_runs if str(c).startswith("ended_")
    }
    if sum(end_counts.values()):
        wasted_seconds, wall_seconds = (
            unique_runs["lost_seconds"].sum(),
            unique_runs["wall_seconds"].sum(),
        )
        end_texts = ", ".join(
            f"{n} {end_reason.replace('_', ' ')}" for end_reason, n in end_counts.items() if n
        )
        sentences.append(
            f"Preemption and other interruptions ({end_texts}) cost {format_duration(wasted_seconds)} of {format_duration(wall_seconds)}."
        )
    return sentences


def _select_finished(costs: pd.DataFrame) -> pd.DataFrame:
    """Those of runs with an outcome: what the others took so far is no measure of a run."""
    return costs[~costs["state"].isin(STATUSES_WITHOUT_OUTCOME)]


def _describe_prediction(runs: pd.DataFrame) -> str:
    """Of runs that were priced before they ran, and have ended."""
    predicted_low, predicted_seconds, predicted_high = (
        runs[f"predicted_{name}"].sum() for name in ("low", "seconds", "high")
    )
    measured_seconds = runs["wall_seconds"].sum()
    num_inside_interval = (
        runs["wall_seconds"].between(runs["predicted_low"], runs["predicted_high"]).sum()
    )
    gpu_hours_text = ""
    if runs["gpus"].any():
        measured_gpu_hours = (runs["wall_seconds"] * runs["gpus"]).sum() / 3600
        predicted_gpu_hours = (runs["predicted_seconds"] * runs["gpus"]).sum() / 3600
        gpu_hours_text = (
            f" GPU-hours: {predicted_gpu_hours:.2g} foretold, {measured_gpu_hours:.2g} billed."
        )
    return (
        f"Foretold for {len(runs)} runs: {format_duration(predicted_seconds)} ({format_duration(predicted_low)} to {format_duration(predicted_high)}); "
        f"billed: {format_duration(measured_seconds)} ({measured_seconds / predicted_seconds - 1:+.0%}); {num_inside_interval} of {len(runs)} runs lie "
        f"within their interval.{gpu_hours_text}"
    )


def _describe_comparability(sweep_data: SweepData, costs: pd.DataFrame) -> list[str]:
    """What the contrasts hold equal of what was measured here, as `stamps` says it of counts."""
    units_by_column = {
        "training_seconds": ("training seconds", 1.0),
        "peak_memory_bytes": (comparability.MEMORY, 1e6),
    }
    measurements: dict[str, dict[str, float | None]] = {
        arm.name: {} for arm in sweep_data.plan.arms
    }
    for column, (quantity, unit) in units_by_column.items():
        if column in costs:
            for arm, value in costs.groupby("arm")[column].median().dropna().items():
                measurements[str(arm)][quantity] = float(value) / unit
    tolerances = {
        quantity: comparability.RELATIVE_TOLERANCE for quantity, _ in units_by_column.values()
    }
    contrasts = [c for c in sweep_data.plan.contrasts if c.kind != "noise"]
    comparisons = {
        c.label: comparability.compare_conditions(measurements, c, tolerances) for c in contrasts
    }
    comparison_lines = [
        f"{label}: {comparison}."
        for label, comparison in comparisons.items()
        if comparison != comparability.NOT_STATED
    ]
    tolerance_note = f"Training time and peak memory count as equal within {comparability.RELATIVE_TOLERANCE:.0%}."
    return [tolerance_note, *comparison_lines] if comparison_lines else []


def _build_arm_table(sweep_data: SweepData, costs: pd.DataFrame) -> Table:
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
    visible_columns = {c: v for c, v in columns.items() if c in costs and costs[c].notna().any()}
    rows = []
    for arm in sweep_data.plan.arms:
        arm_costs = costs[costs["arm"] == arm.name]
        cell_texts = []
        for column, (_, format_spec) in visible_columns.items():
            measured_rows = _select_finished(arm_costs) if column == "wall_seconds" else arm_costs
            value = measured_rows[column].median() / (1e6 if column.endswith("_bytes") else 1)
            cell_texts.append(format_spec.format(value) if value == value else "")
        rows.append(make_row(arm.label, *cell_texts))
    note = "Medians over seeds. The bill by run is bill.csv in the sweep's folder."
    if "training_seconds" in costs:
        training_hours = costs.loc[~costs["shared"], "training_seconds"].sum() / 3600
        note += f" Training took {training_hours:.2f} hours of this machine's slots in all."
    notes = (note, *_describe_comparability(sweep_data, costs), *describe_measured_costs(costs))
    headings = ("arm", *(heading for heading, _ in visible_columns.values()))
    return Table(
        name="costs",
        title="What the arms cost here",
        headings=headings,
        rows=tuple(rows),
        records=(),
        notes=notes,
    )
