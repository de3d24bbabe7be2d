"""Resolution of arms: from the definition of an arm to its configuration.

An arm is the base configuration plus a diff. Precedence, lowest first: defaults, preset of the
method, budget, recipe, overrides of the ablation, overrides of the user, overrides of the arm. A
user's override of a key that an arm changes is refused. (A recipe follows the method of an arm;
what it presets does not count as a change made by the arm.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ablations import designs
from ablations.plan import matched_budget
from ablations.schema import Ablation, ArmDefinition, select_active_overrides
from uniclip.config import RunConfig, build_run_config
from uniclip.config.binding import to_builtins
from uniclip.config.compose import (
    apply_overrides,
    flatten,
    get_default_choices,
    has_key,
    set_key,
)
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.store import Component

ConfigValues = dict[str, Any]
"""A configuration as nested plain dictionaries."""
ComposeFunction = Callable[[Mapping[str, str]], ConfigValues]
"""Group choices -> the plain configuration of one run, every key present."""


@dataclass(frozen=True, kw_only=True)
class ResolvedArm:
    """An arm with its configuration."""

    name: str
    definition: ArmDefinition
    config: RunConfig
    values: ConfigValues
    """`config` as plain dictionaries."""
    label_notes: tuple[str, ...]
    """Remarks for the label: values set under a condition, and where a number of steps is from."""


class ArmResolver:
    """Resolves the arms of an ablation under the choices of the user; each arm once.

    Args:
        ablation: the ablation whose arms are resolved.
        components: every declared component, by name.
        compose: composes the configuration of a run from choices of groups.
        user_choices: the group choices of the user.
        user_overrides: the overrides of single keys by the user.
    """

    def __init__(
        self,
        *,
        ablation: Ablation,
        components: Mapping[str, Component],
        compose: ComposeFunction,
        user_choices: Mapping[str, str],
        user_overrides: Mapping[str, Any],
    ) -> None:
        self.ablation = ablation
        self.definitions = designs.build_arms(ablation)
        self.choices: dict[str, str] = {**ablation.groups, **user_choices}
        """Group choices of the base: those of the ablation, replaced by those of the user."""
        self._components = components
        self._compose = compose
        self._user_overrides = user_overrides
        self._resolved_arms: dict[str, ResolvedArm] = {}

    @cached_property
    def base_config(self) -> RunConfig:
        """The configuration that arms are compared with, before any change by an arm.

        Raises:
            UserError: the values are not valid.
        """
        return build_run_config(self._open_base_values)

    @cached_property
    def _open_base_values(self) -> ConfigValues:
        """`base_values`, but null for what follows from other values, which arms may change."""
        values = self._compose(self.choices)
        apply_overrides(values, self._collect_ablation_overrides(self.choices))
        # what is left out is for arms of another method
        present_overrides = {k: v for k, v in self._user_overrides.items() if has_key(values, k)}
        apply_overrides(values, present_overrides)
        return values

    @cached_property
    def base_values(self) -> ConfigValues:
        """`base_config` as plain dictionaries."""
        values: ConfigValues = to_builtins(self.base_config)
        return values

    def resolve(self, name: str) -> ResolvedArm:
        """Return an arm with its configuration.

        Raises:
            UserError: its values are not valid, or the user overrides a key that it changes.
        """
        if name not in self._resolved_arms:
            self._resolved_arms[name] = self._resolve(name, self.definitions[name])
        return self._resolved_arms[name]

    def check_overrides_are_used(self, arms: Mapping[str, ResolvedArm]) -> None:
        """Raise `UserError` for an override by the user of a key that no arm has."""
        for key, value in self._user_overrides.items():
            if not any(has_key(arm.values, key) for arm in arms.values()):
                set_key(copy.deepcopy(self.base_values), key, value)  # names similar keys
                raise UserError(f"{key} is given by you, and no arm of {', '.join(arms)} has it")

    def _resolve(self, name: str, definition: ArmDefinition) -> ResolvedArm:
        if definition.groups:
            values = self._resolve_group_values(name, definition)
        else:
            values = copy.deepcopy(self._open_base_values)
        conditional_overrides = select_active_overrides(
            definition.conditional_overrides, self._get_choices(definition)
        )
        arm_overrides = {
            **self._collect_off_overrides(definition),
            **definition.overrides,
            **conditional_overrides,
        }
        steps_key = ["train.steps"] if definition.match_budget else []
        self._check_user_overrides(name, {*arm_overrides, *steps_key})
        label_notes = [f"{k.rsplit('.', 1)[-1]} {v}" for k, v in conditional_overrides.items()]
        try:
            apply_overrides(values, arm_overrides)
            if definition.match_budget is not None:
                matched_steps = matched_budget.match_steps(
                    definition.match_budget,
                    self._compute_arm_cost(values, definition),
                    self.compute_cost(self.ablation.reference),
                )
                values["train"]["steps"] = matched_steps.steps
                label_notes.append(matched_steps.description)
            config = build_run_config(values)
        except UserError as error:
            raise UserError(f"arm {name}: {error}") from None
        return ResolvedArm(
            name=name,
            definition=definition,
            config=config,
            values=to_builtins(config),
            label_notes=tuple(label_notes),
        )

    def _get_choices(self, definition: ArmDefinition) -> dict[str, str]:
        return {**self.choices, **definition.groups}

    def _resolve_group_values(self, name: str, definition: ArmDefinition) -> ConfigValues:
        """Return the values of an arm that chooses groups, before its own overrides."""
        choices = self._get_choices(definition)
        values = self._compose(choices)
        values.update(
            {s: copy.deepcopy(self._open_base_values[s]) for s in definition.keep_sections}
        )
        ablation_overrides = self._collect_ablation_overrides(choices)
        changed_keys = self._find_keys_changed_by_groups(definition) - set(ablation_overrides)
        self._check_user_overrides(
            name, {k for k in changed_keys if k.split(".")[0] not in definition.keep_sections}
        )
        for overrides in (ablation_overrides, self._user_overrides):
            present_overrides = {
                key: value
                for key, value in overrides.items()
                if has_key(values, key) and key.split(".")[0] not in definition.keep_sections
            }
            apply_overrides(values, present_overrides)
        return values

    def _find_keys_changed_by_groups(self, definition: ArmDefinition) -> set[str]:
        """Return the keys that the groups chosen by the arm preset differently from the base.

        What a recipe sets for a method is no change by the arm, unless the arm chooses the recipe.
        """
        choices = dict(self.choices)
        if "recipe" not in definition.groups:
            choices.pop("recipe", None)
        base_presets = flatten(self._compose(choices))
        arm_presets = flatten(self._compose({**choices, **definition.groups}))
        return {k for k, v in arm_presets.items() if k in base_presets and base_presets[k] != v}

    def _collect_ablation_overrides(self, choices: Mapping[str, str]) -> dict[str, Any]:
        """Return the keys that the ablation sets in every arm."""
        conditional_overrides = self.ablation.conditional_overrides
        return {
            **self.ablation.overrides,
            **select_active_overrides(conditional_overrides, choices),
        }

    def _collect_off_overrides(self, definition: ArmDefinition) -> dict[str, Any]:
        """Return the keys that are changed by turning components off."""
        overrides = {}
        for name in definition.components_off:
            if name not in self._components:
                raise make_unknown_name_error("component", name, self._components)
            overrides.update(self._components[name].off_overrides)
        return overrides

    def _check_user_overrides(self, arm_name: str, changed_keys: set[str]) -> None:
        """Raise `UserError` for a key of the user that the arm changes, or a part of such a key."""
        for key in self._user_overrides:
            if any(
                key == c or c.startswith(f"{key}.") or key.startswith(f"{c}.") for c in changed_keys
            ):
                raise UserError(
                    f"{key} is given by you and changed by arm {arm_name}: "
                    "leave it out, or choose arms=[...] without it"
                )

    def compute_cost(self, name: str) -> matched_budget.ArmCost:
        """Return what the cost of an arm depends on."""
        arm = self.resolve(name)
        return self._compute_arm_cost(arm.values, arm.definition)

    def _compute_arm_cost(
        self, values: ConfigValues, definition: ArmDefinition
    ) -> matched_budget.ArmCost:
        choices = self._get_choices(definition)
        preset = {**get_default_choices(), **choices}["model"]
        preset_model = self._compose(choices)["model"]
        config = build_run_config(values)
        return matched_budget.ArmCost(
            steps=config.train.steps,
            batch_size=config.train.batch_size,
            forward_passes=config.method.count_forward_passes(config.views),
            lock=config.lock,
            gflops=matched_budget.look_up_gflops(preset, values["model"], preset_model),
        )


def diff_config(base_values: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat keys of `values` that `base_values` does not have, or has otherwise."""
    flat_base = flatten(base_values)
    return {k: v for k, v in flatten(values).items() if k not in flat_base or flat_base[k] != v}
