"""Components of a plan: which ones it lists, and with which doses."""

from __future__ import annotations

from ablations import designs
from ablations.schema import ArmDefinition, DoseScale
from tests.helpers.designs import DECLARED, ablation


def test_components_are_those_of_the_design_and_of_arms() -> None:
    arms = [ArmDefinition(components_off=("d",))]
    found = designs.select_components(ablation(2), DECLARED, arms)
    assert [c.name for c in found] == ["a", "b", "d"]
    assert found == (DECLARED["a"], DECLARED["b"], DECLARED["d"])


def test_doses_of_the_ablation_replace_those_of_the_component() -> None:
    """The report reads from the plan at which dose the full arm is."""
    doses = {"a": DoseScale(full=0.6, overrides={"0.2": {"x.a": 0.2}})}
    found = designs.select_components(ablation(2, "dose", doses=doses), DECLARED, ())
    assert [(c.full_dose, c.doses) for c in found] == [(0.6, {"0.2": {"x.a": 0.2}}), (1.0, {})]
