"""Designs of doses: the strength of a component in steps, with the other components fully on.

Each component that is varied declares doses between off (0) and on. Its primary contrast is the
linear trend: the change from off to on along the line fitted by least squares to the doses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.designs.differences import build_difference
from ablations.designs.names import FULL, format_arm_name
from ablations.designs.rules import refuse_rules
from ablations.schema import Ablation, ArmDefinition
from uniclip.errors import UserError
from uniclip.store import Component, Contrast


def build_dose_arms(ablation: Ablation) -> dict[str, ArmDefinition]:
    """Return the full arm, then each component off and at each of its doses, increasing.

    Raises:
        UserError: a component has no doses, or one that is not between off and on.
    """
    refuse_rules(ablation)
    names = ablation.components
    arms = {FULL: ArmDefinition(role="crossed")}
    for n in names:
        arms[format_arm_name((n,), names)] = ArmDefinition(role="crossed", components_off=(n,))
        for dose, overrides in list_doses(n, ablation).items():
            arms[format_dose_name(n, dose)] = ArmDefinition(
                label=f"{n.replace('_', ' ')} at {dose:g}",
                role="crossed",
                doses={n: dose},
                overrides=overrides,
            )
    return arms


def list_doses(name: str, ablation: Ablation) -> dict[float, dict[str, Any]]:
    """Return dose -> the keys that it sets, between off and on, increasing.

    Raises:
        UserError: there are none, one is no number between off and on, or two have one name.
    """
    scale = ablation.doses.get(name)
    if scale is None or not scale.overrides:
        raise UserError(
            f"ablation {ablation.name}: component {name} has no doses: declare them in its entry "
            "of components.yaml"
        )
    try:
        overrides_by_dose = {float(text): values for text, values in scale.overrides.items()}
    except ValueError as error:
        raise UserError(f"component {name}: doses must be numbers: {error}") from None
    if not all(0 < dose < scale.full for dose in overrides_by_dose):
        raise UserError(
            f"component {name}: doses must lie between 0 (off) and {scale.full:g} (full_dose)"
        )
    if len({format_dose_name(name, dose) for dose in overrides_by_dose}) < len(scale.overrides):
        raise UserError(
            f"component {name}: two of the doses {', '.join(scale.overrides)} are equal in six "
            "digits, by which their arms are named"
        )
    return dict(sorted(overrides_by_dose.items()))


def format_dose_name(component: str, dose: float) -> str:
    """Return the name of the arm in which a component has a dose, such as crop-at-0.5."""
    return f"{component}-at-{dose:g}".replace("_", "-")


def build_dose_contrasts(ablation: Ablation, components: Mapping[str, Component]) -> list[Contrast]:
    """Return the trend of each component, then the difference of each dose from off."""
    trends, differences = [], []
    names = ablation.components
    for n in names:
        label, off_arm = components[n].label, format_arm_name((n,), names)
        doses = {off_arm: 0.0}
        doses |= {format_dose_name(n, dose): dose for dose in list_doses(n, ablation)}
        doses[FULL] = ablation.doses[n].full
        trends.append(
            Contrast(
                name=f"trend:{n}",
                label=f"{label}, trend off to on",
                kind="trend",
                weights=compute_trend_weights(doses),
                primary=True,
                component=n,
            )
        )
        differences += [
            build_difference(arm, off_arm, f"{label} at {dose:g} vs. off", n)
            for arm, dose in doses.items()
            if dose
        ]
    return [*trends, *differences]


def compute_trend_weights(doses: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the change along the line fitted by least squares.

    Args:
        doses: Arm -> dose; at least two differ.
    """
    mean = sum(doses.values()) / len(doses)
    spread = sum((dose - mean) ** 2 for dose in doses.values())
    length = max(doses.values()) - min(doses.values())
    return {arm: (dose - mean) * length / spread for arm, dose in doses.items()}
