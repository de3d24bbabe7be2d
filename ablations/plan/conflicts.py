"""Conflicts between the user's choices and those of an ablation, and between its arms.

The label of an arm names what the ablation's file sets, as a key or as a choice of a group. A
choice by the user must not replace it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablations import designs
from ablations.schema import Ablation, ArmDefinition, select_active_overrides
from uniclip.config import RunConfig
from uniclip.config.compose import get_default_choices
from uniclip.errors import UserError
from uniclip.store import Component, Plan


def check_override_conflicts(
    user_choices: Mapping[str, str],
    arms: Mapping[str, ArmDefinition],
    ablation: Ablation,
    components: Mapping[str, Component],
) -> None:
    """Raise `UserError` for a choice that would make an arm differ from its label.

    Args:
        user_choices: group -> the user's choice.
        arms: the arms that are run.
        ablation: the ablation that they belong to.
        components: every declared component, by name.
    """
    default_choices = {**get_default_choices(), **ablation.groups}
    for group, choice in user_choices.items():
        if choice == default_choices.get(group):
            continue  # the choice changes nothing
        conflict = f"{group}={choice} is given by you"
        if group in ablation.groups:
            for name, key in _find_keys_set_in_group(group, ablation, components):
                raise UserError(
                    f"{conflict}, but ablation={ablation.name} is of "
                    f"{group}={default_choices[group]}, whose {key} is set by arm {name}: "
                    "leave it out"
                )
        for name, arm in arms.items():
            if group in arm.groups:
                raise UserError(
                    f"{conflict} and {group}={arm.groups[group]} is chosen by arm {name}: "
                    "leave it out, or choose arms=[...] without it"
                )


def check_evaluation_splits(configs: Mapping[str, RunConfig]) -> None:
    """Raise `UserError` if arms are scored differently, so that they cannot be compared.

    On different splits, or in different precisions.
    """
    arm_by_split = {config.runtime.evaluation_split: name for name, config in configs.items()}
    if len(arm_by_split) > 1:
        raise UserError(
            "arms are scored on different splits: runtime.evaluation_split is test in "
            f"{arm_by_split['test']}, and validation in {arm_by_split['validation']}; set the same"
        )
    by_precision = {config.runtime.evaluation_precision: name for name, config in configs.items()}
    if len(by_precision) > 1:
        raise UserError(
            "arms are scored in different precisions: runtime.evaluation_precision is fp32 in "
            f"{by_precision['fp32']}, and bf16 in {by_precision['bf16']}; set the same"
        )


def check_test_data(
    definitions: Mapping[str, ArmDefinition], evaluation_hashes: Mapping[str, Mapping[str, str]]
) -> None:
    """Raise `UserError` if an arm changes the data on which it is scored.

    An ablation in a file may do so on purpose: its primary score does not depend on the change.

    Args:
        definitions: arm -> its definition.
        evaluation_hashes: arm -> data set -> evaluation hash.
    """
    for name, definition in definitions.items():
        data_keys = [key for key in definition.overrides if key.startswith("data.")]
        for other, hashes in evaluation_hashes.items():
            if data_keys and name in evaluation_hashes and hashes != evaluation_hashes[name]:
                raise UserError(
                    f"arm {name}: {' and '.join(data_keys)} changes the test data, so that it "
                    f"cannot be compared with arm {other}: leave it out"
                )


def describe_test_data(plan: Plan) -> list[str]:
    """Return a sentence for each arm that has other test data than the reference arm.

    Their evaluations differ on the data that a run trains on, by keys of the data section.
    """
    texts = []
    reference_hashes = plan.evaluation_hashes.get(plan.reference, {})
    for arm in plan.arms:
        hashes = plan.evaluation_hashes.get(arm.name, {})
        names = [d for d in hashes if hashes[d] != reference_hashes.get(d, hashes[d])]
        keys = [key for key in arm.config_diff if key.startswith("data.")]
        if keys and names:
            texts.append(
                f"arm {arm.name}: {' and '.join(keys)} changes the test data of "
                f"{' and '.join(names)}: its scores are compared with those of arm "
                f"{plan.reference}, but test items are paired only if they are the same"
            )
    return texts


def _find_keys_set_in_group(
    group: str, ablation: Ablation, components: Mapping[str, Component]
) -> Iterator[tuple[str, str]]:
    """Yield (arm, key) for every key in the section of a group that an arm sets."""
    for name, arm in designs.build_arms(ablation).items():
        if group in arm.groups:
            continue
        off_keys = [key for c in arm.components_off for key in components[c].off_overrides]
        conditional_keys = select_active_overrides(arm.conditional_overrides, ablation.groups)
        for key in (*off_keys, *arm.overrides, *conditional_keys):
            if key.startswith(f"{group}."):
                yield name, key
