"""Controls of equal size: an arm, and the two contrasts into which an effect is divided."""

from __future__ import annotations

import pytest

from ablations import designs
from tests.helpers.designs import ablation, contrasts, value

SUBSET = {"b": {"x.b": 0, "train.subset_size": 100}}


@pytest.mark.parametrize("design", ["leave_one_out", "crossed"])
def test_a_component_of_the_data_has_a_control(design: str) -> None:
    it = ablation(2, design, controls=SUBSET)
    arms = designs.build_arms(it)
    assert arms["control-b"].overrides == SUBSET["b"]
    assert arms["control-b"].role == "outside"
    assert arms["control-b"].components_off == ()
    found = contrasts(it)
    assert found["full - control-b"].primary
    assert not found["control-b - no-b"].primary
    scores = {arm: 0.0 for arm in arms} | {"full": 0.5, "control-b": 0.3, "no-b": 0.2}
    parts = [value(found[n], scores) for n in ("full - control-b", "control-b - no-b")]
    assert sum(parts) == pytest.approx(0.3)


def test_without_controls_nothing_changes() -> None:
    assert not [arm for arm in designs.build_arms(ablation(3)) if arm.startswith("control")]
    other = ablation(2, controls={"z": {"x.z": 1}})
    assert "control-z" not in designs.build_arms(other), "it is not varied"
