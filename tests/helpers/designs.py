"""Ablations of components a, b, c, ..., and the scores of their arms."""

from __future__ import annotations

from typing import Any

from ablations import designs
from ablations.schema import Ablation, SettingDefinition
from uniclip.store import Component, Contrast

LETTERS = tuple("abcdefghijklmnop")


def component(name: str) -> Component:
    """Return a component that sets the key x.<name>."""
    return Component(
        name=name,
        label=name.upper(),
        reason="r",
        off_overrides={f"x.{name}": 0},
        manipulation_check={},
    )


DECLARED = {n: component(n) for n in LETTERS}


def ablation(k: int, design: str = "crossed", **more: Any) -> Ablation:
    """Return an ablation of the first k letters."""
    return Ablation(
        name="t", title="T", design=design, components=LETTERS[:k], primary_metrics={}, **more
    )  # type: ignore[arg-type]


def contrasts(it: Ablation) -> dict[str, Contrast]:
    """Return the contrasts of an ablation by name."""
    contrasts_by_name = designs.build_contrasts(it, DECLARED, list(designs.build_arms(it)))
    assert len({c.name for c in contrasts_by_name}) == len(contrasts_by_name), (
        "two contrasts of one name"
    )
    return {c.name: c for c in contrasts_by_name}


def value(contrast: Contrast, scores: dict[str, float]) -> float:
    """Return the value of a contrast."""
    return sum(w * scores[arm] for arm, w in contrast.weights.items())


def planted(it: Ablation, effects: dict[tuple[str, ...], float]) -> dict[str, float]:
    """Score of each arm: the sum of the effects of all subsets of the components it has."""
    scores = {}
    for name, arm in designs.build_arms(it).items():
        on = set(it.components) - set(arm.components_off)
        scores[name] = 0.3 + sum(e for parts, e in effects.items() if on >= set(parts))
    return scores


SETTINGS = {
    "warm": SettingDefinition(label="warm", overrides={"x.t": 1}),
    "two_d": SettingDefinition(label="in 2D", overrides={"x.d": 2}),
}
