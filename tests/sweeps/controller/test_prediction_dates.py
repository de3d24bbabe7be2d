"""Predictions are dated by the first plan that has them; late ones are a caveat."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import process
from sweeps.controller.plan_merge import merge_with_stored_plan
from tests.helpers.trivial_sweep import planned
from uniclip.store import Prediction, Store

PREDICTION = Prediction(contrast="c", sign="positive", reason="r")


def predict(resolved_plan: ResolvedPlan, *signs: str) -> ResolvedPlan:
    """Return the plan with predictions of these signs; their hash is made of the signs."""
    predictions = tuple(replace(PREDICTION, sign=sign) for sign in signs)  # type: ignore[arg-type]
    plan = replace(resolved_plan.plan, predictions=predictions, predictions_digest="-".join(signs))
    return replace(resolved_plan, plan=plan)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def start_a_run(store: Store, resolved_plan: ResolvedPlan) -> None:
    run = store.get_run(resolved_plan.plan.cells[0].run_id)
    run.write_spec(next(iter(resolved_plan.specs.values())))
    assert run.claim_attempt(1, process.make_claim_record({})) is not None


def test_a_plan_without_predictions_has_no_date(store: Store) -> None:
    requested = planned(2, 0.0)
    assert merge_with_stored_plan(requested, store) is requested


def test_unchanged_predictions_keep_their_date(store: Store) -> None:
    first = merge_with_stored_plan(predict(planned(2, 0.0), "positive"), store).plan
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", first.predictions_date)
    assert first.rule_changes == ()
    store.get_sweep(first.sweep_id).write_plan(replace(first, predictions_date="2026-01-31"))
    start_a_run(store, planned(2, 0.0))
    again = merge_with_stored_plan(predict(planned(3, 0.0), "positive"), store).plan
    assert again.predictions_date == "2026-01-31"
    assert again.rule_changes == ()


def test_predictions_declared_after_a_run_are_a_caveat_once(store: Store) -> None:
    start_a_run(store, planned(2, 0.0))
    late = merge_with_stored_plan(predict(planned(2, 0.0), "positive"), store).plan
    caveat = "The predictions were declared after 1 of 2 runs had started."
    assert late.caveats == (caveat,)
    store.get_sweep(late.sweep_id).write_plan(late)
    again = merge_with_stored_plan(predict(planned(2, 0.0), "positive"), store).plan
    assert again.caveats == (caveat,)


def test_predictions_changed_after_a_run_are_a_caveat(store: Store) -> None:
    first = merge_with_stored_plan(predict(planned(2, 0.0), "positive"), store).plan
    store.get_sweep(first.sweep_id).write_plan(replace(first, predictions_date="2026-01-31"))
    start_a_run(store, planned(2, 0.0))
    changed = merge_with_stored_plan(predict(planned(2, 0.0), "negative"), store).plan
    assert changed.predictions_date > "2026-01-31"
    assert changed.caveats == (
        "The predictions were changed after 2 seeds had started: from c is positive to c is "
        "negative.",
    )
    store.get_sweep(first.sweep_id).write_plan(changed)
    dropped = merge_with_stored_plan(planned(2, 0.0), store).plan
    assert dropped.caveats[-1] == (
        "The predictions were changed after 2 seeds had started: from c is negative to none."
    )
