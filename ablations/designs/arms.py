"""Arms of an ablation: those of its design, of its settings, and those that it lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ablations.designs.controls import build_control_arms
from ablations.designs.crossed import list_crossed
from ablations.designs.differences import OffSets, list_add_one_in, list_leave_one_out
from ablations.designs.doses import build_dose_arms
from ablations.designs.fractions import list_fractional, list_plackett_burman
from ablations.designs.names import (
    format_arm_label,
    format_arm_name,
    format_setting_arm_name,
    format_subset_name,
)
from ablations.designs.orders import list_arms_of_orders
from ablations.schema import Ablation, ArmDefinition
from uniclip.errors import UserError

OFF_SETS: dict[str, Callable[[Ablation], OffSets]] = {
    "crossed": list_crossed,
    "leave_one_out": list_leave_one_out,
    "add_one_in": list_add_one_in,
    "cumulative": list_arms_of_orders,
    "paths": list_arms_of_orders,
    "fractional": list_fractional,
    "plackett_burman": list_plackett_burman,
    "shapley": list_arms_of_orders,
}
"""Design -> what its arms turn off; listed and dose designs are not made of such arms."""
NAMED_BY_OFF = ("crossed", "leave_one_out")
"""Designs whose arms are named by the components that are off."""


def build_arms(ablation: Ablation) -> dict[str, ArmDefinition]:
    """Return the arms of an ablation, in order: those of its design, then those that it lists.

    Raises:
        UserError: the design does not exist for these components, or two arms of the design, its
            settings and the list have one name.
    """
    off_sets: OffSets = []
    arms: dict[str, ArmDefinition]
    if ablation.design == "listed":
        return dict(ablation.arms)
    if ablation.design == "dose":
        arms = build_dose_arms(ablation)
    else:
        off_sets, names = OFF_SETS[ablation.design](ablation), ablation.components
        format_name = format_arm_name if ablation.design in NAMED_BY_OFF else format_subset_name
        arms = {}
        for off in off_sets:
            arm = ArmDefinition(
                label=format_arm_label(off, names, {}), role="crossed", components_off=off
            )
            if arms.setdefault(format_name(off, names), arm) != arm:
                raise UserError(
                    f"ablation {ablation.name}: two arms of the design are called "
                    f"{format_name(off, names)}: rename a component"
                )
    for name, arm in (
        *_iterate_setting_arms(ablation, off_sets),
        *build_control_arms(ablation).items(),
        *ablation.arms.items(),
    ):
        if name in arms:
            raise UserError(f"ablation {ablation.name}: the design already has an arm {name}")
        arms[name] = arm
    return arms


def _iterate_setting_arms(
    ablation: Ablation, off_sets: Sequence[tuple[str, ...]]
) -> Iterator[tuple[str, ArmDefinition]]:
    """Yield name and arm: those of every setting, with all components, and without each."""
    for name, setting in ablation.settings.items():
        for off in off_sets:
            without = [f"without {n.replace('_', ' ')}" for n in off]
            arm = ArmDefinition(
                label=", ".join([setting.label, *without]),
                role="setting",
                components_off=off,
                groups=setting.groups,
                overrides=setting.overrides,
            )
            yield format_setting_arm_name(name, off), arm
