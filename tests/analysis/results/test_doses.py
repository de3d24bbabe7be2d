"""Dose curves of a sweep: the arm of each dose, and seeds that all of them completed."""

from __future__ import annotations

import pytest

from ablations.schema import DoseScale
from analysis.results.doses import analyze_doses, list_dose_arms
from analysis.statistics.effects import Observations
from tests.helpers.designed_sweeps import make_plan
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import Plan

DOSES = {
    "a": DoseScale(full=1.0, overrides={"0.5": {}, "0.25": {}}),
    "b": DoseScale(full=4.0, overrides={"2": {}}),
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(ablation(2, "dose", doses=DOSES), Truth(seeds=(0, 1, 2)))


def test_doses_are_listed_from_off_to_on(plan: Plan) -> None:
    assert list_dose_arms(plan, "a") == {
        0.0: "no-a",
        0.25: "a-at-0.25",
        0.5: "a-at-0.5",
        1.0: "full",
    }
    assert list_dose_arms(plan, "b") == {0.0: "no-b", 2.0: "b-at-2", 4.0: "full"}


def test_each_component_has_a_curve_over_complete_seeds(plan: Plan) -> None:
    seeds = (0, 1, 2)
    values = {a.name: {s: 0.1 * i + 0.01 * s for s in seeds} for i, a in enumerate(plan.arms)}
    del values["b-at-2"][1]
    curves = analyze_doses(plan, Observations(seeds=(0, 1, 2), values=values))
    assert [(c.component, c.seeds) for c in curves] == [("a", (0, 1, 2)), ("b", (0, 2))]
    first = curves[0].trend
    assert first is not None
    assert first.means == pytest.approx((0.11, 0.21, 0.31, 0.01))
    assert not first.is_monotone


def test_without_a_complete_seed_there_is_no_trend(plan: Plan) -> None:
    for curve in analyze_doses(plan, Observations(seeds=(0,), values={})):
        assert curve.trend is None


def test_other_designs_have_no_curves() -> None:
    crossed = make_plan(ablation(2), Truth(seeds=(0,)))
    assert analyze_doses(crossed, Observations(seeds=(0,), values={})) == []
