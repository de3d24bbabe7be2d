"""The union of two plans, and the statements that cannot both hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ablations.plan.predictions import compute_predictions_digest
from sweeps.merging.plans import unite_plans
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.store import AdaptiveRule, Plan, Prediction

ADAPTIVE = AdaptiveRule(initial_seeds={}, max_seeds=8, digest="0123456789ab")


def make(*seeds: int, **changes: Any) -> Plan:
    return dataclasses.replace(fake_sweep.plan(Truth(seeds=seeds)), **changes)


def keep_arms(plan: Plan, names: set[str], sweep_id: str) -> Plan:
    return dataclasses.replace(
        plan,
        sweep_id=sweep_id,
        arms=tuple(arm for arm in plan.arms if arm.name in names),
        cells=tuple(cell for cell in plan.cells if cell.arm in names),
        contrasts=tuple(c for c in plan.contrasts if set(c.weights) <= names),
        evaluation_hashes={n: h for n, h in plan.evaluation_hashes.items() if n in names},
    )


def test_seeds_are_united_in_the_order_of_one_plan() -> None:
    assert unite_plans(make(0, 2), make(1, 2)) == make(0, 1, 2)
    assert unite_plans(make(1), make(0)) == make(0, 1)


def test_data_sets_of_both_are_required() -> None:
    first, second = make(0), make(1)
    hashes = {arm.name: {"cifar10": "11112222"} for arm in second.arms}
    second = dataclasses.replace(
        second, evaluation_hashes=hashes, missing_datasets={"openmoji": "install it"}
    )
    first = dataclasses.replace(first, missing_datasets={"cifar10": "get it"})
    united = unite_plans(first, second)
    assert list(united.evaluation_hashes["full"]) == ["openmoji", "cifar10"]
    assert united.missing_datasets == {}


def test_the_hash_of_predictions_is_that_of_the_united_arms() -> None:
    prediction = Prediction(contrast="full - clip", sign="positive", reason="r")
    plan = make(0, predictions=(prediction,))
    plan = dataclasses.replace(plan, predictions_digest=compute_predictions_digest(plan))
    assert unite_plans(plan, plan).predictions_digest == plan.predictions_digest
    first = keep_arms(plan, {"full", "clip"}, "components-quick-00000001")
    second = keep_arms(plan, {"full", "clip-same-views"}, "components-quick-00000002")
    united = unite_plans(first, second)
    assert united.predictions_digest == compute_predictions_digest(united)
    assert united.predictions_digest != plan.predictions_digest


def test_arms_of_both_make_another_sweep_whatever_the_order() -> None:
    plan = make(0, 1)
    first = keep_arms(plan, {"full", "clip"}, "components-quick-00000001")
    second = keep_arms(plan, {"full", "clip-same-views"}, "components-quick-00000002")
    united = unite_plans(first, second)
    assert [arm.name for arm in united.arms] == ["full", "clip", "clip-same-views"]
    assert united.sweep_id == unite_plans(second, first).sweep_id
    assert united.sweep_id not in (first.sweep_id, second.sweep_id)
    assert [cell.name for cell in united.cells][:3] == ["full/0", "clip/0", "clip-same-views/0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "clip"}, "their reference differ"),
        ({"looks": ()}, "their looks differ"),
        ({"budget": "study"}, "their budget differ"),
        ({"adaptive": ADAPTIVE}, "their rules of adaptive seeds differ"),
        ({"evaluation_hashes": {"full": {"openmoji": "ffffffff"}}}, "by different protocols"),
    ],
)
def test_plans_that_contradict_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        unite_plans(make(0), make(1, **changes))
    assert "\n" not in str(caught.value)


def test_a_cell_is_one_run() -> None:
    first, second = make(0), make(0)
    cells = tuple(dataclasses.replace(cell, run_id="0" * 16) for cell in second.cells)
    with pytest.raises(UserError, match="cell full/0 is another run"):
        unite_plans(first, dataclasses.replace(second, cells=cells))
