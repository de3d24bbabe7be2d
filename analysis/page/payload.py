"""Everything that the page of a sweep shows, as one value for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.collect.frame import SweepData
from analysis.figures.palette import PALETTE, assign_line_styles
from analysis.page import cells, curves, runs, scores, usage
from uniclip.store import Plan, Store

INK = "ink"
"""Stands for the colour of text, which depends on the reader's light or dark scheme."""
DASH_UNIT = 1.6
"""Pixels of a dash of length 1."""


def build_payload(
    store: Store,
    sweep_data: SweepData,
    *,
    cell_records: Sequence[Mapping[str, Any]] | None = None,
    progress: Mapping[str, Any] | None = None,
    store_url: str | None = None,
    results: Mapping[str, Any] | None = None,
    generated: float | None,
) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        store: the store of the sweep.
        sweep_data: data of the sweep (`collect_plan_data`).
        cell_records: a record per cell in the plan's order, with keys of `cells.CELL_KEYS`; None
            for what the files state, without any scheduler.
        progress: further facts of the progress, such as remaining_seconds.
        store_url: where files of the store are, relative to the page; None for no links.
        results: as `encode_results` returned them for this data; None to compute them.
        generated: seconds since the epoch when this state was read; None to state no time, so that
            equal inputs give equal bytes.
    """
    plan = sweep_data.plan
    records = cell_records if cell_records is not None else cells.list_cell_records(sweep_data)
    return {
        "generated": generated,
        "sweep": describe_sweep(plan),
        "store_url": store_url,
        "arms": encode_arms(plan),
        "progress": encode_progress(records, sweep_data, progress),
        "cells": cells.encode_cells(plan, records),
        **(encode_results(store, sweep_data) if results is None else results),
    }


def encode_results(store: Store, sweep_data: SweepData) -> dict[str, Any]:
    """Return the part of the payload that is read from the files of runs."""
    return {
        "curves": curves.encode_curves(sweep_data),
        "scores": scores.encode_scores(sweep_data),
        "configs": runs.encode_configs(sweep_data),
        "environments": runs.encode_environments(sweep_data),
        "costs": runs.encode_costs(sweep_data),
        "files": runs.encode_files(sweep_data),
        "logs": runs.read_logs(store, sweep_data.cells),
        "usage": usage.encode_usage(store, sweep_data.plan),
    }


def encode_progress(
    records: Sequence[Mapping[str, Any]],
    sweep_data: SweepData,
    progress: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return counts of cells and GPU-hours, and the further facts."""
    return {
        **cells.count_progress(records),
        "gpu_hours": cells.sum_gpu_hours(sweep_data),
        **(progress or {}),
    }


def describe_sweep(plan: Plan) -> dict[str, Any]:
    """Return the heading of the page."""
    return {
        "id": plan.sweep_id,
        "title": plan.title,
        "ablation": plan.ablation,
        "data": plan.data,
        "budget": plan.budget,
        "design": plan.design.replace("_", " "),
        "reference": plan.reference,
        "seeds": list(plan.seeds),
    }


def encode_arms(plan: Plan) -> list[dict[str, Any]]:
    """Return name, label, role and line of each arm, in the plan's order."""
    line_styles = assign_line_styles(plan.arms, plan.reference, PALETTE, INK)
    arms = []
    for arm in plan.arms:
        style = line_styles[arm.name]
        dashes = () if isinstance(style.linestyle, str) else style.linestyle[1]
        arms.append(
            {
                "name": arm.name,
                "label": arm.label,
                "role": arm.role,
                "color": style.color,
                "dash": [round(DASH_UNIT * length, 1) for length in dashes],
                "width": style.linewidth,
            }
        )
    return arms
