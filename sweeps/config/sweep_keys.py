"""The keys of a sweep and of its runs: which hold text, which are paths, and whose they are."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sweeps.config.schema import LAUNCHER_CONFIGS, SweepConfig
from uniclip.config import DATA, METHODS, RUN_ONLY, RunConfig, keys
from uniclip.config.binding import get_field_types
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.config.overrides import TEXT, TEXT_OR_LIST, ValueForms

GROUP_KEYS = ("ablation", "budget", "data", "launcher", "method", "model", "recipe")
"""Keys that choose a file or a class by name."""
DESIGN_KEYS = ("design", "components", "resolution", "fold_over")
"""Keys of the sweep that replace those of the ablation's file."""
GROUP_CLASSES: dict[str, Mapping[str, type]] = {
    "data": DATA,
    "launcher": LAUNCHER_CONFIGS,
    "method": METHODS,
}
"""Group -> choice -> the class of its keys."""
DATASET_SCHEMES = ("csv:", "folder:", "wds:")
"""What the name of a data set at a path begins with, in `benchmark=[...]`."""


@dataclass(frozen=True, kw_only=True)
class KeyRoot:
    """A class whose fields are keys of the command line."""

    cls: type
    prefix: str = ""
    choice: str = ""
    """The choice with which the keys exist, such as "data=csv"; "" for keys that always exist."""


def list_key_roots() -> Iterator[KeyRoot]:
    """Yield the classes of all keys: of the sweep, its launchers, the run, its data and methods."""
    yield KeyRoot(cls=SweepConfig)
    yield KeyRoot(cls=RunConfig)
    for group, classes in GROUP_CLASSES.items():
        for name, cls in classes.items():
            yield KeyRoot(cls=cls, prefix=f"{group}.", choice=f"{group}={name}")


def collect_value_forms() -> ValueForms:
    """Return what the keys of a sweep's command line hold; those of plug-ins too."""
    roots = [(root.cls, root.prefix) for root in list_key_roots()]
    forms = keys.collect_value_forms(roots)
    forms |= dict.fromkeys((*GROUP_KEYS, "conf_dir"), TEXT)
    forms["runtime.protocol"] = TEXT
    forms["runtime.plugins"] = TEXT_OR_LIST
    return {**forms, **{alias: forms[key] for alias, key in KEY_ALIASES.items()}}


def map_keys_to_choices(choices: Mapping[str, str]) -> dict[str, str]:
    """Return the keys that exist with other choices of a group only -> the first such choice.

    Args:
        choices: Group -> the present choice.
    """
    present_keys: set[str] = set()
    choices_by_key: dict[str, str] = {}
    for root in list_key_roots():
        names = {key.name for s in keys.collect_sections(root.cls, root.prefix) for key in s.keys}
        group, _, name = root.choice.partition("=")
        if not root.choice or choices.get(group) == name:
            present_keys |= names
        else:
            choices_by_key = {**dict.fromkeys(names, root.choice), **choices_by_key}
    return {key: choice for key, choice in choices_by_key.items() if key not in present_keys}


def is_run_only(key: str) -> bool:
    """Return whether a key cannot change which runs a sweep has, apart from their seeds."""
    key = KEY_ALIASES.get(key, key)
    section, _, name = key.partition(".")
    sweep_keys = {field.name for field in dataclasses.fields(SweepConfig)}
    sweep_keys -= {"arms", *DESIGN_KEYS}
    if section in sweep_keys or section in RUN_ONLY or key in RUN_ONLY:
        return True
    return any(
        field.name == name and field.metadata.get("run_only")
        for cls in GROUP_CLASSES.get(section, {}).values()
        for field in dataclasses.fields(cls)
    )


def list_path_keys() -> set[str]:
    """Return the keys whose value is a path of the user."""
    path_keys = {key for root in list_key_roots() for key in _iterate_paths(root.cls, root.prefix)}
    aliases = {alias for alias, key in KEY_ALIASES.items() if key in path_keys}
    return {"conf_dir", *path_keys, *aliases}


def _iterate_paths(cls: type, prefix: str) -> Iterator[str]:
    field_types = get_field_types(cls)
    for field in dataclasses.fields(cls):
        if field.metadata.get("is_path"):
            yield f"{prefix}{field.name}"
        elif dataclasses.is_dataclass(hint := field_types[field.name]):
            yield from _iterate_paths(typing.cast(type, hint), f"{prefix}{field.name}.")
