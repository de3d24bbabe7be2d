"""One component at a time: taken from the full model, or added to the empty one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ablations import designs
from ablations.schema import SettingDefinition
from tests.helpers.designs import SETTINGS, ablation, contrasts, planted, value


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
    in_settings = contrasts(replace(it, settings=SETTINGS))
    assert "warm - warm-no-a-b" in in_settings
    added = replace(it, design="add_one_in", reference="none")
    assert list(designs.build_arms(added)) == ["none", "no-c", "only-c"]
    assert {n: c.label for n, c in contrasts(added).items()} == {
        "no-c - none": "A with B, alone",
        "only-c - none": "C, alone",
    }


def test_a_component_that_requires_two_is_added_to_both() -> None:
    it = ablation(4, "add_one_in", reference="none", requires={"c": ("a", "b")})
    assert list(designs.build_arms(it)) == ["none", "only-a", "only-b", "no-d", "only-d", "on-1100"]
    found = contrasts(it)
    assert [c.component for c in found.values()] == list("abcd")
    assert found["no-d - on-1100"].label == "C, added to A and B"


def test_effects_have_a_slope_over_the_compute_that_settings_state() -> None:
    """The least-squares line through effects of 0.1, 0.2 and 0.6 at 1, 10 and 100 times."""
    settings = {
        "large": SettingDefinition(label="large", groups={"model": "l"}, compute=10.0),
        "huge": SettingDefinition(label="huge", overrides={"x.s": 2}, compute=100.0),
        "other": SettingDefinition(label="other", overrides={"x.o": 1}),
    }
    it = ablation(2, "leave_one_out", settings=settings)
    assert designs.build_arms(it)["large-no-a"].groups == {"model": "l"}
    found = contrasts(it)
    slope = found["scale:a"]
    assert (slope.kind, slope.primary) == ("scale", False)
    assert sum(slope.weights.values()) == pytest.approx(0)
    assert not [arm for arm in slope.weights if arm.startswith("other")]
    scores = {"full": 0.5, "no-a": 0.4, "large": 0.6, "large-no-a": 0.4, "huge": 0.9}
    scores["huge-no-a"] = 0.3
    assert value(slope, scores) == pytest.approx(np.polyfit([0, 1, 2], [0.1, 0.2, 0.6], 1)[0])
    without = ablation(2, "leave_one_out", settings={"other": settings["other"]})
    assert "scale:a" not in contrasts(without)
