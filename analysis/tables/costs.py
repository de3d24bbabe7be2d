"""Costs of a sweep: a cost report by run for the store, and a short table by arm for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.collect.export import format_csv
from analysis.collect.frame import STATUSES_WITH_OUTCOME, SweepData
from analysis.collect.run_time import format_duration
from analysis.results import comparability
from analysis.tables.table import Table, make_row
from uniclip.store import Arm, Contrast

END_PREFIX = "ended_"
"""Prefix of the columns that count end reasons."""
TABLE_COLUMNS = {
    "image_forward_passes_per_sample": ("image forward passes per sample", "{:g}"),
    "training_seconds": ("training seconds per run", "{:.1f}"),
    "wall_seconds": ("seconds per run", "{:.1f}"),
    "predicted_seconds": ("predicted seconds per run", "{:.1f}"),
    "seconds_per_step": ("seconds per step", "{:.3f}"),
    "flops_per_step": ("FLOPs per step", "{:.3g}"),
    "parameters": ("parameters", "{:,.0f}"),
    "peak_memory_bytes": ("peak memory (MB)", "{:,.0f}"),
}
"""Column of the costs -> heading and format in the table by arm."""
MEASURED_QUANTITIES = {
    "training_seconds": ("training seconds", 1.0),
    "peak_memory_bytes": (comparability.MEMORY, 1e6),
}
"""Measured column -> quantity and unit in which the sides of a contrast are compared."""


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """Costs of a sweep; never part of `tables/`, because they differ from machine to machine."""

    csv: str
    """One row per cell. Arms that coincide share a run, which is counted once (`shared_run`)."""
    table: Table
    """Medians by arm."""
    frame: pd.DataFrame
    """The rows of `csv`."""


def build_cost_report(sweep_data: SweepData) -> CostReport:
    """Return measured and predicted costs of the sweep."""
    costs = sweep_data.costs.copy()
    costs["shared_run"] = costs["run"].duplicated()
    flops_by_arm = {
        p["arm"]: p["flops_per_step"] for p in sweep_data.probes if "flops_per_step" in p
    }
    costs["flops_per_step"] = costs["arm"].map(flops_by_arm)
    if {"num_gpus", "wall_seconds"} <= set(costs):
        costs["gpu_hours"] = costs["wall_seconds"] * costs["num_gpus"] / 3600
        costs["predicted_gpu_hours"] = costs["predicted_seconds"] * costs["num_gpus"] / 3600
    plan = sweep_data.plan
    return CostReport(
        csv=format_csv(costs),
        table=_build_arm_table(plan.arms, plan.contrasts, costs),
        frame=costs,
    )


def describe_measured_costs(costs: pd.DataFrame) -> list[str]:
    """Return sentences on prediction and measurement, and on the cost of interruptions."""
    sentences = []
    unique_runs = costs[~costs["shared_run"]]
    if {"predicted_seconds", "wall_seconds"} <= set(unique_runs):
        predicted_runs = _select_finished(unique_runs).dropna(
            subset=["predicted_seconds", "wall_seconds"]
        )
        if len(predicted_runs):
            sentences.append(_describe_prediction(predicted_runs))
    end_counts = {
        str(column).removeprefix(END_PREFIX): int(unique_runs[column].sum())
        for column in unique_runs
        if str(column).startswith(END_PREFIX)
    }
    if sum(end_counts.values()):
        wasted_seconds = unique_runs["wasted_seconds"].sum()
        wall_seconds = unique_runs["wall_seconds"].sum()
        end_texts = ", ".join(
            f"{n} {end_reason.replace('_', ' ')}" for end_reason, n in end_counts.items() if n
        )
        sentences.append(
            f"Interruptions and failures ({end_texts}) cost {format_duration(wasted_seconds)} of "
            f"{format_duration(wall_seconds)}."
        )
    return sentences


def _select_finished(costs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of runs with an outcome: the time of others does not measure a run."""
    return costs[costs["status"].isin(STATUSES_WITH_OUTCOME)]


def _describe_prediction(runs: pd.DataFrame) -> str:
    """Compare prediction and measurement of finished runs whose cost was predicted."""
    low, seconds, high = (
        format_duration(runs[column].sum())
        for column in ("predicted_seconds_low", "predicted_seconds", "predicted_seconds_high")
    )
    measured_seconds = runs["wall_seconds"].sum()
    relative_error = measured_seconds / runs["predicted_seconds"].sum() - 1
    is_inside = runs["wall_seconds"].between(
        runs["predicted_seconds_low"], runs["predicted_seconds_high"]
    )
    gpu_hours_text = ""
    if runs["num_gpus"].any():
        measured_gpu_hours = (runs["wall_seconds"] * runs["num_gpus"]).sum() / 3600
        predicted_gpu_hours = (runs["predicted_seconds"] * runs["num_gpus"]).sum() / 3600
        gpu_hours_text = (
            f" GPU-hours: {predicted_gpu_hours:.2g} predicted, {measured_gpu_hours:.2g} measured."
        )
    return (
        f"Predicted for {len(runs)} runs: {seconds} ({low} to {high}); measured: "
        f"{format_duration(measured_seconds)} ({relative_error:+.0%}); {is_inside.sum()} of "
        f"{len(runs)} runs are within their predicted range.{gpu_hours_text}"
    )


def _describe_comparability(
    arms: Sequence[Arm], contrasts: Sequence[Contrast], costs: pd.DataFrame
) -> list[str]:
    """Return for each contrast whether measured time and memory are matched."""
    measurements: dict[str, dict[str, float | None]] = {arm.name: {} for arm in arms}
    for column, (quantity, unit) in MEASURED_QUANTITIES.items():
        if column in costs:
            for arm, value in costs.groupby("arm")[column].median().dropna().items():
                measurements[str(arm)][quantity] = float(value) / unit
    tolerances = {
        quantity: comparability.RELATIVE_TOLERANCE for quantity, _ in MEASURED_QUANTITIES.values()
    }
    comparisons = {
        c.label: comparability.compare_conditions(measurements, c, tolerances)
        for c in contrasts
        if c.kind != "noise"
    }
    comparison_notes = [
        f"{label}: {comparison}."
        for label, comparison in comparisons.items()
        if comparison != comparability.NOT_STATED
    ]
    tolerance_note = (
        "Training time and peak memory count as matched within "
        f"{comparability.RELATIVE_TOLERANCE:.0%}."
    )
    return [tolerance_note, *comparison_notes] if comparison_notes else []


def _build_arm_table(
    arms: Sequence[Arm], contrasts: Sequence[Contrast], costs: pd.DataFrame
) -> Table:
    columns = {
        column: heading_and_format
        for column, heading_and_format in TABLE_COLUMNS.items()
        if column in costs and costs[column].notna().any()
    }
    rows = []
    for arm in arms:
        arm_costs = costs[costs["arm"] == arm.name]
        cell_texts = []
        for column, (_, format_spec) in columns.items():
            measured_rows = _select_finished(arm_costs) if column == "wall_seconds" else arm_costs
            value = measured_rows[column].median() / (1e6 if column.endswith("_bytes") else 1)
            cell_texts.append(format_spec.format(value) if value == value else "")
        rows.append(make_row(arm.label, *cell_texts))
    note = "Medians over seeds. Costs by run: cost_report.csv in the sweep's folder."
    if "training_seconds" in costs:
        training_hours = costs.loc[~costs["shared_run"], "training_seconds"].sum() / 3600
        note += f" Training took {training_hours:.2f} hours in total."
    return Table(
        name="costs",
        title="Cost per arm",
        headings=("arm", *(heading for heading, _ in columns.values())),
        rows=tuple(rows),
        records=(),
        notes=(
            note,
            *_describe_comparability(arms, contrasts, costs),
            *describe_measured_costs(costs),
        ),
    )
