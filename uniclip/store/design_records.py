"""The records of a design: components, arms, contrasts and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Component:
    """A component of a method that can be switched off."""

    name: str
    label: str
    reason: str
    off_overrides: dict[str, Any]
    """Configuration key -> value that switches it off."""
    manipulation_check: dict[str, Any]
    """What two training steps must show when it is off (interpreted by `ablations.audit`)."""
    short_label: str = ""
    """Short label, as in "without ..."; empty for the name."""
    requires: tuple[str, ...] = ()
    """Components that must be on where it is on."""
    excludes: tuple[str, ...] = ()
    """Components that must be off where it is on."""
    doses: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Dose between off (0) and on (`full_dose`) -> configuration key -> value; a design of doses
    varies them."""
    control_overrides: dict[str, Any] = field(default_factory=dict)
    """Configuration key -> value of a control for a component of the data: without it, but with
    as many training samples as with it. Empty = it has none."""
    full_dose: float = 1.0
    """Dose of the component where it is on."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of a comparison."""

    name: str
    label: str
    role: Literal["crossed", "outside", "setting", "noise"]
    """Of the design, a baseline from outside it, the design in another setting, or an A/A arm."""
    levels: dict[str, bool]
    """Component -> whether it is on; components that the arm does not set are left out."""
    config_diff: dict[str, Any]
    """Configuration key -> value, where it differs from the base configuration."""
    doses: dict[str, float] = field(default_factory=dict)
    """Component -> dose, where it is neither off nor fully on; such components have no level."""


@dataclass(frozen=True, kw_only=True)
class Alias:
    """An effect that the value of a contrast contains."""

    effect: str
    """Main effect or interaction: names of components, joined by `*`."""
    coefficient: float
    """Its share: 1 or -1 if both effects are one contrast, between them for a part."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of arms whose value is an effect."""

    name: str
    label: str
    kind: Literal["main", "interaction", "difference", "noise", "shapley", "trend", "scale"]
    weights: dict[str, float]
    """Weight of each arm; they sum to 0."""
    primary: bool
    """Whether it was declared in advance: such contrasts are the family of Holm's correction."""
    component: str | None = None
    setting: str | None = None
    """The setting in which it compares a component on and off; None = the default."""
    aliases: tuple[Alias, ...] = ()
    """Other effects that its value contains, because the design has not all combinations."""

    @property
    def arms_by_sign(self) -> tuple[list[str], list[str]]:
        """The arms with positive weights, and those with negative weights."""
        weights = self.weights.items()
        return [a for a, w in weights if w > 0], [a for a, w in weights if w < 0]


@dataclass(frozen=True, kw_only=True)
class FoldOver:
    """Arms that repeat a fractional design with the levels of some components reversed."""

    components: tuple[str, ...]
    """What `fold_over` is set to: the fold-overs that the design has, and this one."""
    num_arms: int
    """Arms that it adds."""
    separates: str
    """What can then be told apart."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is expected of a contrast, declared before the first run."""

    contrast: str = ""
    """Name of the contrast; empty = the primary contrasts of `component`."""
    component: str = ""
    sign: Literal["positive", "negative", "null"]
    """An improvement, the opposite, or an effect within the margin."""
    reason: str
    """Why it is expected."""

    @property
    def description(self) -> str:
        """Such as "main:awareness is positive"."""
        word = {"null": "practically nothing"}.get(self.sign, self.sign)
        return f"{self.contrast or self.component} is {word}"
