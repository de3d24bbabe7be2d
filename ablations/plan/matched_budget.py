"""How long an arm trains that is to cost as much as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from uniclip.config import RunConfig
from uniclip.models import profile

TOWERS = ("image", "text")
LEARNT, FROZEN = 3, 1
"""Passes that a forward brings with it: a backward one costs two, and what is frozen has none."""


@dataclass(frozen=True, kw_only=True)
class Costed:
    """An arm as far as its cost goes."""

    config: RunConfig
    operations: Mapping[str, float] | None
    """10^9 operations of one forward of each encoder; None: the table has no such model."""


@dataclass(frozen=True, kw_only=True)
class Length:
    """A number of steps, and where it comes from."""

    steps: int
    said: str


def operations(
    preset: str, model: Mapping[str, Any], as_preset: Mapping[str, Any]
) -> Mapping[str, float] | None:
    """Operations of a forward of each encoder (`sizes.table`); None where the table has them not.

    model, as_preset: the plain model section as it is, and as its preset alone gives it.
    """
    known = profile.table().get(preset)
    if known is None or any(model[tower] != as_preset[tower] for tower in TOWERS):
        return None
    return {tower: known[f"{tower}_gflops"] for tower in TOWERS}


def equal(quantity: Literal["image_forwards", "compute"], arm: Costed, reference: Costed) -> Length:
    """The steps after which the arm has had as much of a quantity as the reference.

    Compute is that of the encoders, whose forwards the methods count; of a model that is not in the
    table, a picture is taken to cost what a text costs.
    """
    both, said = (arm, reference), ""
    if quantity == "image_forwards":
        mine, theirs = (c.config.method.forwards(c.config.views)["image"] for c in both)
    elif None in (arm.operations, reference.operations):
        mine, theirs = (_passes(c.config, dict.fromkeys(TOWERS, 1.0)) for c in both)
        said = ", a picture taken for a text: the model is not in the table"
    else:
        mine, theirs = (_passes(c.config, c.operations or {}) for c in both)
        said = ", by the table of models"
    train = reference.config.train
    samples = train.steps * train.batch_size * theirs / mine
    steps = max(1, round(samples / arm.config.train.batch_size))
    return Length(steps=steps, said=f"steps x {steps / train.steps:.3g}{said}")


def _passes(config: RunConfig, unit: Mapping[str, float]) -> float:
    """What a training sample costs; unit: what one forward of each encoder costs."""
    forwards = config.method.forwards(config.views)
    still = {t: FROZEN if config.frozen in (t, "both") else LEARNT for t in TOWERS}
    return float(sum(forwards[t] * unit[t] * still[t] for t in TOWERS))
