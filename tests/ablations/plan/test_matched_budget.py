"""Steps for equal forward passes or equal compute."""

from __future__ import annotations

import pytest

from tests.helpers.plans import (
    plan_from_words,
)
from uniclip.models import profile

EQUAL = ("ablation=controls", "seeds=1", "arms=[uniclip,clip-equal-forwards,clip-equal-compute]")


@pytest.mark.parametrize(
    ("model", "factor"), [("tiny", 1.87), ("vit_b32", 2.19), ("vit_l16", 2.91)]
)
def test_equal_compute_follows_the_model_profile(model: str, factor: float) -> None:
    resolved_plan = plan_from_words(*EQUAL, f"model={model}")
    steps = {name: c.train.steps for name, c in resolved_plan.configs.items()}
    base = steps["uniclip"]
    assert steps["clip-equal-forwards"] == 3 * base
    assert steps["clip-equal-compute"] / base == pytest.approx(factor, abs=0.006)
    text = f"(steps x {factor:g}, by the model profile table)"
    assert text in resolved_plan.plan.get_arm("clip-equal-compute").label
    facts = resolved_plan.plan.comparison_facts
    of = {name: facts[name]["image forward passes"] for name in steps}
    assert of["uniclip"] == of["clip-equal-forwards"]


def test_forward_passes_are_counted_for_a_model_without_a_profile() -> None:
    resolved_plan = plan_from_words(
        *EQUAL, "model.image.name=test_resnet", "model.image.options={}"
    )
    assert (
        resolved_plan.configs["clip-equal-compute"].train.steps
        == 2 * resolved_plan.configs["uniclip"].train.steps
    )
    text = "(steps x 2, image and text passes counted alike: the model is not in the profile table)"
    assert text in resolved_plan.plan.get_arm("clip-equal-compute").label


def test_frozen_encoder_costs_no_backward_pass() -> None:
    table = profile.read_profiles()["vit_b32"]
    image, text = table["image_gflops"], 3 * table["text_gflops"]
    resolved_plan = plan_from_words(*EQUAL, "model=vit_b32", "lock=image")
    steps = {name: c.train.steps for name, c in resolved_plan.configs.items()}
    factor = (3 * image + text) / (image + text)
    assert steps["clip-equal-compute"] == round(factor * steps["uniclip"])
