"""Training lengths for equal budgets: the steps after which an arm has used as much as another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from uniclip.models import profile

TOWERS = ("image", "text")
TRAINED_PASSES, FROZEN_PASSES = 3, 1
"""Cost of a training step in forward passes: the backward pass of a trained encoder costs two."""


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What the cost of an arm depends on."""

    steps: int
    batch_size: int
    """Samples per step."""
    forward_passes: Mapping[str, float]
    """Encoder (image, text) -> forward passes per sample."""
    lock: str
    """The encoders that are frozen: none, image, text or both."""
    gflops: Mapping[str, float] | None
    """Encoder -> 10^9 operations of one forward pass; None if the model is not in the table."""


@dataclass(frozen=True, kw_only=True)
class MatchedSteps:
    """A number of training steps, and how it was computed."""

    steps: int
    description: str


def look_up_gflops(
    preset: str, model: Mapping[str, Any], preset_model: Mapping[str, Any]
) -> Mapping[str, float] | None:
    """Return the 10^9 operations of one forward pass of each encoder (`profile.read_profiles`).

    Args:
        preset: name of the model preset.
        model: the model section of the configuration.
        preset_model: the model section as the preset alone sets it.

    Returns:
        None if the table has no such preset, or an encoder differs from the preset.
    """
    model_profile = profile.read_profiles().get(preset)
    if model_profile is None or any(model[tower] != preset_model[tower] for tower in TOWERS):
        return None
    return {tower: model_profile[f"{tower}_gflops"] for tower in TOWERS}


def match_steps(
    quantity: Literal["image_forwards", "compute"], arm: ArmCost, reference: ArmCost
) -> MatchedSteps:
    """Return the steps after which `arm` has used as much of a quantity as `reference` does.

    Compute is that of the encoders' passes. If a model is not in the table, a forward pass of the
    image encoder is assumed to cost as much as one of the text encoder.
    """
    if quantity == "image_forwards":
        sample_costs = [cost.forward_passes["image"] for cost in (arm, reference)]
        note = ""
    elif arm.gflops is None or reference.gflops is None:
        equal_costs = dict.fromkeys(TOWERS, 1.0)
        sample_costs = [_compute_sample_cost(cost, equal_costs) for cost in (arm, reference)]
        note = ", image and text passes counted alike: the model is not in the profile table"
    else:
        sample_costs = [
            _compute_sample_cost(arm, arm.gflops),
            _compute_sample_cost(reference, reference.gflops),
        ]
        note = ", by the model profile table"
    arm_sample_cost, reference_sample_cost = sample_costs
    samples = reference.steps * reference.batch_size * reference_sample_cost / arm_sample_cost
    steps = max(1, round(samples / arm.batch_size))
    return MatchedSteps(steps=steps, description=f"steps x {steps / reference.steps:.3g}{note}")


def compute_training_cost(cost: ArmCost) -> float | None:
    """Return the compute of the encoders in training, in 10^9 operations; None if the model is not
    in the profile table."""
    if cost.gflops is None:
        return None
    return cost.steps * cost.batch_size * _compute_sample_cost(cost, cost.gflops)


def _compute_sample_cost(cost: ArmCost, forward_costs: Mapping[str, float]) -> float:
    """Return the cost of training on one sample, in the unit of `forward_costs`."""
    passes = {t: FROZEN_PASSES if cost.lock in (t, "both") else TRAINED_PASSES for t in TOWERS}
    return float(sum(cost.forward_passes[t] * forward_costs[t] * passes[t] for t in TOWERS))
