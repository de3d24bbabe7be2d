"""Controls of equal size: a component of the data changes what is trained on, and how much of it.

The arm without such a component (a filter, a source, a source of captions) has another number of
training samples. Its control is without it too, but has as many samples as the full arm, so the
effect of the component is divided into that of the choice of samples and that of their number.
"""

from __future__ import annotations

from collections.abc import Mapping

from ablations.designs.differences import build_difference
from ablations.designs.names import FULL, format_arm_name
from ablations.schema import Ablation, ArmDefinition
from uniclip.store import Component, Contrast


def format_control_name(component: str) -> str:
    """Return the name of the control of a component."""
    return f"control-{component}".replace("_", "-")


def build_control_arms(ablation: Ablation) -> dict[str, ArmDefinition]:
    """Return the controls of the components that the ablation varies."""
    return {
        format_control_name(n): ArmDefinition(
            label=f"without {n.replace('_', ' ')}, of equal size",
            role="outside",
            overrides=ablation.controls[n],
        )
        for n in ablation.components
        if n in ablation.controls
    }


def build_control_contrasts(
    ablation: Ablation, components: Mapping[str, Component]
) -> list[Contrast]:
    """Return each such component's effect at equal size, and the effect of the size it changes."""
    contrasts = []
    for n in ablation.components:
        if n not in ablation.controls:
            continue
        label, control = components[n].label, format_control_name(n)
        off_arm = format_arm_name((n,), ablation.components)
        contrasts += [
            build_difference(FULL, control, f"{label}, at equal size", n, primary=True),
            build_difference(control, off_arm, f"number of samples that {label} changes", n),
        ]
    return contrasts
