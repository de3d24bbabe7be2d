"""Plans from other stores and bundles, without what states which code is executed.

`run`, `report` and `status` on the id of a sweep follow its stored plan: they import its plug-ins
and repeat the words that made it. A plan by somebody else must not choose either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from uniclip.config.override_keys import KEY_ALIASES
from uniclip.config.overrides import SIMPLE_KEY
from uniclip.errors import UserError
from uniclip.store import Plan, TuningRound

EXECUTION_SECTIONS = ("launcher", "conf_dir", "notify", "storage", "store", "allow_torchscript")
"""Sections whose words choose code, commands, or where files and messages are written."""
PLUGIN_KEYS = ("runtime", "runtime.plugins")
"""Keys that a run has its plug-ins from."""


def strip_execution(plan: Plan, own_plan: Plan | None) -> tuple[Plan, tuple[str, ...]]:
    """Return a plan from elsewhere without plug-ins and words that choose code; and their keys.

    Args:
        plan: the plan.
        own_plan: the plan of the same sweep that the user's store has; arms that are equal there
            are the user's own.

    Raises:
        UserError: its cells are executed by another module, or its tuning sets such a key.
    """
    own_executor = own_plan.executor if own_plan is not None else Plan.executor
    if plan.executor != own_executor:
        raise UserError(
            f"{plan.sweep_id}: its cells are executed by the module {plan.executor!r}, which is "
            "code: merge takes none from elsewhere"
        )
    for key in _iterate_tuned_keys(plan):
        if _chooses_code(key):
            raise UserError(f"{plan.sweep_id}: its tuning sets {key!r}, which chooses code")
    own_arms = {arm.name: arm for arm in own_plan.arms} if own_plan is not None else {}
    words = {word: _find_code_key(word) for word in plan.overrides}
    removed_keys = [key for key in words.values() if key]
    arms = []
    for arm in plan.arms:
        if own_arms.get(arm.name) == arm:
            arms.append(arm)
            continue
        removed_keys += [key for key in arm.config_diff if _chooses_code(key)]
        diff = {key: v for key, v in arm.config_diff.items() if not _chooses_code(key)}
        arms.append(replace(arm, config_diff=diff))
    base_config, removed_values = _strip_config(plan.base_config)
    stripped_plan = replace(
        plan,
        arms=tuple(arms),
        base_config=base_config,
        overrides=tuple(word for word, code_key in words.items() if not code_key),
    )
    return stripped_plan, tuple(dict.fromkeys([*removed_keys, *removed_values]))


def require_plain_round(tuning_round: TuningRound) -> None:
    """Raise `UserError` for a round of a tuning whose trials set a key that chooses code."""
    for trials in tuning_round.trials.values():
        for key in (key for trial in trials for key in trial.params):
            if _chooses_code(key):
                raise UserError(f"round {tuning_round.number} of a tuning sets {key!r}")


def _iterate_tuned_keys(plan: Plan) -> Iterator[str]:
    if plan.tuning is not None:
        yield from plan.tuning.dimensions
        for arm in plan.tuning.arms:
            yield from arm.best_trial.params


def _strip_config(base_config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a base configuration that imports nothing, and the keys that were set."""
    runtime, removed_keys = base_config.get("runtime", {}), []
    if not isinstance(runtime, Mapping):
        raise UserError("the section runtime of a plan is damaged")
    config = dict(base_config)
    if runtime.get("plugins"):
        removed_keys.append("runtime.plugins")
        config["runtime"] = {**runtime, "plugins": []}
    if config.get("allow_torchscript"):
        removed_keys.append("allow_torchscript")
        config["allow_torchscript"] = False
    return config, removed_keys


def _find_code_key(word: str) -> str:
    """Return the key of a word that chooses code, all of a word without a plain key; else ""."""
    key, separator, _ = word.partition("=")
    if not separator or SIMPLE_KEY.fullmatch(key) is None:
        return repr(word)
    return key if _chooses_code(key) else ""


def _chooses_code(key: str) -> bool:
    """Return whether a key of the configuration chooses what is executed."""
    key = KEY_ALIASES.get(key, key)
    if key in PLUGIN_KEYS or key.startswith("runtime.plugins."):
        return True
    return key.partition(".")[0] in EXECUTION_SECTIONS
