"""How long an arm trains that is to cost as much as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from uniclip.config import RunConfig
from uniclip.models import profile

TOWERS = ("image", "text")
TRAINED_PASSES, FROZEN_PASSES = 3, 1
"""Passes that a forward brings with it: a backward one costs two, and what is frozen has none."""


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """An arm as far as its cost goes."""

    config: RunConfig
    gflops: Mapping[str, float] | None
    """10^9 operations of one forward of each encoder; None: the table has no such model."""


@dataclass(frozen=True, kw_only=True)
class MatchedSteps:
    """A number of steps, and where it comes from."""

    steps: int
    description: str


def look_up_gflops(
    preset: str, model: Mapping[str, Any], preset_model: Mapping[str, Any]
) -> Mapping[str, float] | None:
    """Operations of a forward of each encoder (`sizes.table`); None where the table has them not.

    model, as_preset: the plain model section as it is, and as its preset alone gives it.
    """
    model_sizes = profile.read_profiles().get(preset)
    if model_sizes is None or any(model[tower] != preset_model[tower] for tower in TOWERS):
        return None
    return {tower: model_sizes[f"{tower}_gflops"] for tower in TOWERS}


def match_steps(
    quantity: Literal["image_forwards", "compute"], arm: ArmCost, reference: ArmCost
) -> MatchedSteps:
    """The steps after which the arm has had as much of a quantity as the reference.

    Compute is that of the encoders, whose forwards the methods count; of a model that is not in the
    table, a picture is taken to cost what a text costs.
    """
    arm_costs, note = (arm, reference), ""
    if quantity == "image_forwards":
        arm_quantity, reference_quantity = (
            c.config.method.count_forward_passes(c.config.views)["image"] for c in arm_costs
        )
    elif None in (arm.gflops, reference.gflops):
        arm_quantity, reference_quantity = (
            _compute_sample_cost(c.config, dict.fromkeys(TOWERS, 1.0)) for c in arm_costs
        )
        note = ", a picture taken for a text: the model is not in the table"
    else:
        arm_quantity, reference_quantity = (
            _compute_sample_cost(c.config, c.gflops or {}) for c in arm_costs
        )
        note = ", by the table of models"
    train = reference.config.train
    samples = train.steps * train.batch_size * reference_quantity / arm_quantity
    steps = max(1, round(samples / arm.config.train.batch_size))
    return MatchedSteps(steps=steps, description=f"steps x {steps / train.steps:.3g}{note}")


def _compute_sample_cost(config: RunConfig, forward_costs: Mapping[str, float]) -> float:
    """What a training sample costs; unit: what one forward of each encoder costs."""
    forwards = config.method.count_forward_passes(config.views)
    passes_per_forward = {
        t: FROZEN_PASSES if config.lock in (t, "both") else TRAINED_PASSES for t in TOWERS
    }
    return float(sum(forwards[t] * forward_costs[t] * passes_per_forward[t] for t in TOWERS))
