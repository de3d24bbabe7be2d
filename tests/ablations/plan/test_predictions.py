"""Predictions of a plan: on which contrasts, and what their hash covers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablations.plan.predictions import (
    check_null_predictions,
    compute_predictions_digest,
    describe_ungraded_predictions,
    resolve_predictions,
)
from tests.helpers.designed_sweeps import make_plan
from tests.helpers.designs import ablation, contrasts
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.store import Look, Margin, Prediction

POSITIVE = Prediction(component="a", sign="positive", reason="r")
NULL = Prediction(contrast="interaction:a*b", sign="null", reason="r")


def test_a_prediction_on_a_component_is_on_its_primary_contrasts() -> None:
    it = ablation(2, predictions=(POSITIVE, NULL))
    resolved = resolve_predictions(it, list(contrasts(it).values()))
    assert [(p.contrast, p.sign) for p in resolved] == [
        ("main:a", "positive"),
        ("interaction:a*b", "null"),
    ]
    assert describe_ungraded_predictions(it, list(contrasts(it).values())) == []


def test_predictions_without_their_arms_are_named() -> None:
    it = ablation(2, predictions=(POSITIVE, NULL))
    assert describe_ungraded_predictions(it, []) == [
        "not graded: a is positive (its arms are not in this sweep, or share their runs)",
        "not graded: interaction:a*b is practically nothing (its arms are not in this sweep, or "
        "share their runs)",
    ]


def test_the_hash_covers_predictions_and_rules_but_no_seeds() -> None:
    plan = make_plan(ablation(2, predictions=(POSITIVE,)), Truth())
    digest = compute_predictions_digest(plan)
    assert digest
    assert compute_predictions_digest(replace(plan, seeds=(7, 8, 9), cells=())) == digest
    changes = {
        "predictions": (replace(plan.predictions[0], sign="negative"),),
        "looks": (Look(num_seeds=4, level=0.05),),
        "contrasts": plan.contrasts[:1],
        "sweep_id": "another",
    }
    digests = {compute_predictions_digest(replace(plan, **{k: v})) for k, v in changes.items()}  # type: ignore[arg-type]
    assert len({*digests, digest}) == 5
    assert compute_predictions_digest(replace(plan, predictions=())) == ""


def test_a_null_effect_needs_the_margin_of_the_primary_score() -> None:
    plan = make_plan(ablation(2, predictions=(NULL,)), Truth())
    metric = plan.primary_metric
    margin = Margin(dataset=metric.dataset, metric=metric.metric, value=0.01, reason="r")
    check_null_predictions(replace(plan, margins=(margin,)))
    for margins in ((), (replace(margin, metric="another"),)):
        with pytest.raises(UserError, match="practically nothing needs a margin of"):
            check_null_predictions(replace(plan, margins=margins))
    check_null_predictions(replace(plan, margins=(), predictions=()))
