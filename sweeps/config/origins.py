"""Where the values of a configuration come from: default, preset, budget, recipe, ablation, user.

Precedence is that of `ablations.plan.arms`, lowest first. Values are read again from the files that
set them; which file wins is Hydra's order of folders, in which the first one that has it counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.designs import build_arms
from ablations.schema import read_yaml, select_active_overrides
from sweeps.config.request import SweepRequest
from uniclip.config import DATA
from uniclip.config.compose import flatten, get_default_choices

GLOBAL_PACKAGE = "# @package _global_"
LAYERS = {
    "data": "preset",
    "model": "preset",
    "method": "preset",
    "budget": "budget",
    "schedule": "budget",
    "recipe": "recipe",
    "recipe/method": "recipe",
}
"""Group, in the order in which Hydra composes them -> what its values are called."""


def find_choice_origins(request: SweepRequest, arm: str) -> list[tuple[str, str, str]]:
    """Return (group, choice, origin) for each group of a run of an arm."""
    plan_request = request.plan_request
    arm_groups = build_arms(plan_request.ablation)[arm].groups
    layers = (
        ("default", get_default_choices()),
        ("ablation", plan_request.ablation.groups),
        ("user", plan_request.group_choices),
        (f"ablation (arm {arm})", arm_groups),
    )
    choices: dict[str, tuple[str, str]] = {}
    for origin, layer in layers:
        choices |= {group: (choice, origin) for group, choice in layer.items()}
    return [(group, choice, origin) for group, (choice, origin) in choices.items()]


def find_key_origins(request: SweepRequest, arm: str) -> dict[str, str]:
    """Return the origin of each key of a run of an arm whose value is not a default."""
    plan_request = request.plan_request
    definition = build_arms(plan_request.ablation)[arm]
    choices = {group: choice for group, choice, _ in find_choice_origins(request, arm)}
    origins = _find_shared_origins(request, choices)
    if definition.keep_sections:
        base_choices = {**choices, **plan_request.ablation.groups, **plan_request.group_choices}
        kept_origins = _find_shared_origins(request, base_choices)
        for both, takes_kept in ((origins, False), (kept_origins, True)):
            for key in [*both]:
                if (key.split(".")[0] in definition.keep_sections) != takes_kept:
                    del both[key]
        origins |= kept_origins
    arm_values = dict(definition.overrides)
    for component in definition.components_off:
        arm_values |= plan_request.components[component].off_overrides
    arm_values |= select_active_overrides(definition.conditional_overrides, choices)
    if definition.match_budget is not None:
        arm_values["train.steps"] = None
    origins |= dict.fromkeys(flatten(arm_values), f"ablation (arm {arm})")
    return origins


def _find_shared_origins(request: SweepRequest, choices: Mapping[str, str]) -> dict[str, str]:
    """Return the origins of the keys that all arms with these choices share."""
    plan_request = request.plan_request
    ablation = plan_request.ablation
    origins = dict.fromkeys(_list_derived_keys(choices["data"]), "derived from other keys")
    for group, choice in _list_files(choices):
        for key, value in _read_values(request.conf_dirs, group, choice).items():
            if value is not None or key not in origins:
                origins[key] = f"{LAYERS[group]} ({group}={choice})"
    ablation_values = {
        **ablation.overrides,
        **select_active_overrides(ablation.conditional_overrides, choices),
    }
    for origin, values in (("ablation", ablation_values), ("user", plan_request.overrides)):
        origins |= dict.fromkeys(flatten(values), origin)
    return origins


def _list_derived_keys(data: str) -> Iterator[str]:
    """Yield the keys that follow from others unless they are given (`uniclip.config.derived`)."""
    yield from ("model.image.image_size", "model.text.vocab_size")
    for field in dataclasses.fields(DATA[data]) if data in DATA else ():
        if field.metadata.get("follows_model"):
            yield f"data.{field.name}"


def _list_files(choices: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (group, choice) for each file that a configuration may be composed of."""
    derived = {
        "schedule": f"{choices['data']}_{choices['budget']}",
        "recipe/method": f"{choices['recipe']}_{choices['method']}",
    }
    for group in LAYERS:
        yield group, {**derived, **choices}[group]


def _read_values(conf_dirs: Sequence[Path], group: str, choice: str) -> dict[str, Any]:
    """Return the values that the file of a choice sets; none if there is no file."""
    paths = [path for f in conf_dirs if (path := f / group / f"{choice}.yaml").exists()]
    if not paths:
        return {}
    is_global = paths[0].read_text(encoding="utf-8").startswith(GLOBAL_PACKAGE)
    values = read_yaml(paths[0])
    return flatten(values if is_global else {group: values})
