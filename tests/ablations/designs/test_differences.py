"""One component at a time: taken from the full model, or added to the empty one."""

from __future__ import annotations

import pytest

from ablations import designs
from tests.helpers.designs import ablation, contrasts, planted, value


def test_add_one_in_has_an_arm_per_component() -> None:
    it = ablation(4, "add_one_in", reference="none")
    assert list(designs.build_arms(it)) == ["none", "only-a", "only-b", "only-c", "only-d"]
    found = contrasts(it)
    assert list(found) == [f"only-{n} - none" for n in "abcd"]
    assert all(c.primary and c.component for c in found.values())
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.05})
    assert value(found["only-b - none"], scores) == pytest.approx(0.2)


def test_a_component_is_added_to_those_that_it_requires() -> None:
    it = ablation(3, "add_one_in", reference="none", requires={"b": ("a",)})
    assert list(designs.build_arms(it)) == ["none", "only-a", "no-c", "only-c"]
    step = contrasts(it)["no-c - only-a"]
    assert (step.component, step.label) == ("b", "B, added to A")


def test_a_component_is_taken_away_with_those_that_require_it() -> None:
    it = ablation(3, "leave_one_out", requires={"b": ("a",)})
    assert list(designs.build_arms(it)) == ["full", "no-a-b", "no-b", "no-c"]
    found = contrasts(it)
    assert found["full - no-a-b"].label == "A with B, in the full model"
    assert list(found) == ["full - no-a-b", "full - no-b", "full - no-c"]


def test_components_that_require_one_another_are_one_contrast() -> None:
    it = ablation(3, "leave_one_out", requires={"b": ("a",), "a": ("b",)})
    assert list(designs.build_arms(it)) == ["full", "no-a-b", "no-c"]
    assert [c.component for c in contrasts(it).values()] == ["a", "c"]
