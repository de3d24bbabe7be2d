"""The groups that a user chooses, beside those that the ablation and its arms choose.

An arm is called what it is: what its label says, the ablation's file writes out, as a key or as a
choice of a group. No choice of the user's may take its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablations import designs
from ablations.schema import Ablation, ArmDefinition, select_active_overrides
from uniclip.config.compose import get_default_choices
from uniclip.errors import UserError
from uniclip.store import Component


def check_override_conflicts(
    user_choices: Mapping[str, str],
    arms: Mapping[str, ArmDefinition],
    ablation: Ablation,
    components: Mapping[str, Component],
) -> None:
    """`UserError` for a choice that would make an arm another than it is called.

    chosen: the user's choices, by group. arms: those that are run.
    """
    usual_choices = {**get_default_choices(), **ablation.groups}
    for group, choice in user_choices.items():
        if choice == usual_choices.get(group):
            continue  # it is so anyhow
        conflict = f"{group}={choice} is given by you"
        if group in ablation.groups:
            for name, key in _find_keys_set_in_group(group, ablation, components):
                raise UserError(
                    f"{conflict}, but ablation={ablation.name} is of {group}={usual_choices[group]}, "
                    f"whose {key} is set by arm {name}: leave it out"
                )
        for name, arm in arms.items():
            if group in arm.groups:
                raise UserError(
                    f"{conflict} and {group}={arm.groups[group]} is chosen by arm {name}: "
                    "leave it out, or choose arms=[...] without it"
                )


def _find_keys_set_in_group(
    group: str, ablation: Ablation, components: Mapping[str, Component]
) -> Iterator[tuple[str, str]]:
    """Arm and key, for every key in a group's section that an arm sets in the base's choice."""
    for name, arm in designs.build_arms(ablation).items():
        if group in arm.groups:
            continue
        off = [
            key for component in arm.components_off for key in components[component].off_overrides
        ]
        for key in (
            *off,
            *arm.overrides,
            *select_active_overrides(arm.conditional_overrides, ablation.groups),
        ):
            if key.startswith(f"{group}."):
                yield name, key
