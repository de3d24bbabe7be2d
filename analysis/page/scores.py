"""Scores of arms and cells for the page: means and standard errors as the report computes them."""

from __future__ import annotations

import math
from typing import Any

from analysis.collect.frame import SweepData
from analysis.formatting import (
    PLUS_MINUS,
    NumberFormat,
    choose_score_format,
    format_score_label,
)
from analysis.page.curves import encode_numbers
from analysis.statistics.effects import Observations, estimate_effect
from uniclip.store import get_score_kind_traits


def encode_scores(sweep_data: SweepData) -> list[dict[str, Any]]:
    """Return every score, the primary ones first.

    Returns:
        For each score its data set, name, label, unit, factor and decimals of the values that are
        shown, direction (1: higher is better, -1: lower, 0: neither), `cells` (the value of each
        cell in the plan's order, or null) and `arms`: for each arm that has a value the mean (as
        shown), its text, its standard error over seeds and the number of seeds.
    """
    has_several_datasets = len({dataset for dataset, _ in sweep_data.list_score_keys()}) > 1
    return [
        _encode_score(sweep_data, key, has_several_datasets)
        for key in sweep_data.list_score_keys()
        if len(sweep_data.select_score_rows(*key)["value"].dropna())
    ]


def _encode_score(
    sweep_data: SweepData, key: tuple[str, str], names_dataset: bool
) -> dict[str, Any]:
    plan, (dataset, name) = sweep_data.plan, key
    observations, kind = sweep_data.get_observations(*key), sweep_data.get_score_kind(*key)
    number_format = choose_score_format(kind, observations, [a.name for a in plan.arms])
    direction = {True: 1, False: -1, None: 0}[get_score_kind_traits(kind).higher_is_better]
    values = [observations.values.get(c.arm, {}).get(c.seed, math.nan) for c in plan.cells]
    prefix = f"{dataset}: " if names_dataset else ""
    mark = "*" if sweep_data.is_report_only(*key) else ""
    return {
        "dataset": dataset,
        "name": name,
        "label": f"{prefix}{format_score_label(name)}{mark}",
        "unit": number_format.unit,
        "factor": number_format.factor,
        "decimals": number_format.decimals,
        "direction": direction,
        "is_primary": any((m.dataset, m.metric) == key for m in plan.primary_metrics),
        "cells": encode_numbers(values),
        "arms": {
            arm.name: _encode_arm(observations, arm.name, number_format)
            for arm in plan.arms
            if observations.values.get(arm.name)
        },
    }


def _encode_arm(
    observations: Observations, arm: str, number_format: NumberFormat
) -> dict[str, Any]:
    effect = estimate_effect({arm: 1.0}, observations)
    mean, error = observations.compute_mean(arm), effect.standard_error
    text = number_format.format(mean)
    if error is not None and len(observations.values[arm]) > 1:
        text += f" {PLUS_MINUS} {number_format.format(error)}"
    return {
        "mean": encode_numbers([mean])[0],
        "text": text,
        "num_seeds": len(observations.values[arm]),
    }
