"""Designs of doses: arms, their order, and a trend that is the slope of least squares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ablations import designs
from ablations.designs.doses import compute_trend_weights, list_doses
from ablations.schema import Ablation, DoseScale
from tests.helpers.designs import ablation, contrasts
from uniclip.errors import UserError


def scale(*doses: float, full: float = 1.0) -> DoseScale:
    return DoseScale(full=full, overrides={f"{d:g}": {"x.a": d} for d in doses})


def dose_ablation(k: int = 1, **more: Any) -> Ablation:
    return ablation(k, "dose", **{"doses": {"a": scale(0.5, 0.25), "b": scale(2, full=4)}, **more})


def test_each_component_has_an_arm_per_dose_between_off_and_on() -> None:
    arms = designs.build_arms(dose_ablation(2))
    assert list(arms) == ["full", "no-a", "a-at-0.25", "a-at-0.5", "no-b", "b-at-2"]
    assert arms["a-at-0.25"].doses == {"a": 0.25}
    assert arms["a-at-0.25"].overrides == {"x.a": 0.25}
    assert arms["no-b"].components_off == ("b",)


def test_the_trend_is_primary_and_equals_the_least_squares_line() -> None:
    found = contrasts(dose_ablation(2))
    assert [n for n, c in found.items() if c.primary] == ["trend:a", "trend:b"]
    doses = {"no-a": 0.0, "a-at-0.25": 0.25, "a-at-0.5": 0.5, "full": 1.0}
    scores = dict(zip(doses, (0.1, 0.4, 0.3, 0.7)))
    slope = np.polyfit(list(doses.values()), list(scores.values()), 1)[0]
    trend = found["trend:a"]
    assert sum(w * scores[arm] for arm, w in trend.weights.items()) == pytest.approx(slope)
    assert (trend.kind, trend.component) == ("trend", "a")
    assert sum(found["trend:b"].weights.values()) == pytest.approx(0)
    assert found["a-at-0.5 - no-a"].label == "A at 0.5 vs. off"


def test_the_trend_of_a_straight_line_is_its_rise() -> None:
    doses = {"x": 0.0, "y": 1.0, "z": 4.0}
    weights = compute_trend_weights(doses)
    assert sum(w * 0.3 * doses[arm] for arm, w in weights.items()) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("doses", "match"),
    [
        ({}, "component a has no doses: declare them"),
        ({"a": scale(0.5, 1.0)}, r"doses must lie between 0 \(off\) and 1 \(full_dose\)"),
        ({"a": scale(0.0, 0.5)}, "doses must lie between"),
        ({"a": DoseScale(full=1, overrides={"half": {}})}, "doses must be numbers: .*'half'"),
        ({"a": DoseScale(full=1, overrides={"nan": {}})}, "doses must lie between"),
        ({"a": DoseScale(full=1, overrides={"0.5": {}, "0.50": {}})}, "0.5, 0.50 are equal in six"),
    ],
)
def test_doses_that_do_not_fit_are_refused(doses: dict[str, DoseScale], match: str) -> None:
    with pytest.raises(UserError, match=match):
        list_doses("a", dose_ablation(doses=doses))


@pytest.mark.parametrize("text", ["0.3333333", "1000000", "0.20", "1e-7"])
def test_a_dose_is_written_in_any_way(text: str) -> None:
    doses = {"a": DoseScale(full=2e6, overrides={text: {"x.a": 7}})}
    (arm,) = [a for a in designs.build_arms(dose_ablation(doses=doses)).values() if a.doses]
    assert (arm.doses, arm.overrides) == ({"a": float(text)}, {"x.a": 7})
