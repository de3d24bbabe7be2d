"""The components of a plan: those that its design varies, or that an arm turns off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ablations.schema import Ablation, ArmDefinition
from uniclip.store import Component


def select_components(
    ablation: Ablation, components: Mapping[str, Component], arms: Iterable[ArmDefinition]
) -> tuple[Component, ...]:
    """Return these components, with the doses that the ablation declares for them."""
    names = {name for arm in arms for name in arm.components_off} | set(ablation.components)
    return tuple(
        _set_doses(component, ablation) for name, component in components.items() if name in names
    )


def _set_doses(component: Component, ablation: Ablation) -> Component:
    scale = ablation.doses.get(component.name)
    if scale is None:
        return component
    return replace(component, full_dose=scale.full, doses=scale.overrides)
