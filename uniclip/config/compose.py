"""From group choices and overrides to a plain dictionary, by Hydra's Compose API.

Hydra composes the groups; overrides of single keys are read in Hydra's grammar but put in place by
us, so that an unknown key is answered with the nearest one and nobody is told of `+key`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from uniclip.config import DATA, METHODS
from uniclip.errors import UserError, unknown
from uniclip.identity import digest, library_version
from uniclip.io.atomic import remembered

CONF = Path(__file__).parents[1] / "conf"
PLAIN_KEY = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
PLAIN_WORD = re.compile(r"(?!(true|false|null|nan|inf)$)[a-z_/][a-z0-9_/.-]*", re.IGNORECASE)
PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]*")
FREE = ("options", "extra")
"""Names of mappings whose keys are not ours to know: the user may replace or extend them."""
REGISTERED: dict[str, dict[str, type]] = {"data": DATA, "method": METHODS}
"""Groups whose choices need no YAML: what is registered has its name, and defaults."""
NO_LOGGING = ("hydra/job_logging=none", "hydra/hydra_logging=none")
"""We log by ourselves; composing Hydra's own setting of it takes a quarter of the time."""


def compose(name: str, choices: Mapping[str, str], folders: Sequence[Path]) -> dict[str, Any]:
    """The configuration `name` under these group choices; `folders`: where YAML is looked for.

    Raises `UserError` for a choice that no folder has, or a YAML file that is broken.
    """
    for group, choice in choices.items():
        known = options(group, folders)
        if choice not in known:
            raise unknown(group, choice, known)
    # Hydra takes a fifth of a second for it; `plan` needs several.
    texts = [[str(p), p.read_bytes().hex()] for f in folders for p in sorted(f.rglob("*.yaml"))]
    inputs = [name, dict(choices), [str(f) for f in folders], texts, library_version("hydra-core")]
    composed = remembered("composed", digest(inputs), lambda: _composed(name, choices, folders))
    return dict(composed)


def _composed(name: str, choices: Mapping[str, str], folders: Sequence[Path]) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    first, *others = (str(f) for f in folders)
    path = ",".join(f"'file://{f}'" for f in others)
    searched = f"hydra.searchpath=[{path}]"
    overrides = [searched, *NO_LOGGING, *(f"{g}={c}" for g, c in choices.items())]
    for group, choice in choices.items():
        if choice not in _written(group, folders):
            node = {group: {"name": choice}}
            ConfigStore.instance().store(choice, node, group=group, package="_global_")
    try:
        with initialize_config_dir(first, version_base=None):
            composed = hydra_compose(name, overrides)
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the configuration cannot be composed: {_one_line(error)}") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise UserError(f"a YAML file is broken: {_one_line(error)}") from None
        raise
    assert isinstance(plain, dict)
    return {str(k): v for k, v in plain.items()}


def read(path: Path) -> Any:
    """What a YAML file says, as plain values; `UserError` if it is broken."""
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # its parser's errors share no class
        raise UserError(f"{path} is broken: {_one_line(error)}") from None


LISTS = {"benchmark", "protocol"}
"""Folders of named lists and protocols, which are no groups: two choices of one group silently keep
the last."""


def groups(folders: Sequence[Path]) -> list[str]:
    """The names of the groups that can be chosen: folders with YAML in them (a user's own may hold
    her store too)."""
    found = {p.parent.name for folder in folders for p in folder.glob("*/*.yaml")}
    return sorted(found - LISTS)


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """The choices that a group has, over all folders: those with YAML, and those registered."""
    return sorted(_written(group, folders) | REGISTERED.get(group, {}).keys())


def _written(group: str, folders: Sequence[Path]) -> set[str]:
    return {p.stem for f in folders for p in (f / group).glob("*.yaml")}


@cache
def defaults() -> dict[str, str]:
    """The groups of a run that can be chosen, each with what it is where nobody chooses."""
    listed = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    named = {k: v for entry in listed if isinstance(entry, dict) for k, v in entry.items()}
    return {k: v for k, v in named.items() if not k.startswith("optional ")}


def parse(overrides: Iterable[str]) -> dict[str, Any]:
    """`key=value` words in Hydra's grammar as {key: value}; `UserError` for anything else."""
    values: dict[str, Any] = {}
    for text in overrides:
        key, value = _plainly(text) or _by_grammar(text)
        if key in values:
            raise UserError(f"{key} is given twice")
        values[key] = value
    return values


def _plainly(text: str) -> tuple[str, Any] | None:
    """What the grammar makes of a word or a whole number, without a fifth of a second of imports;
    None for what only the grammar can say."""
    key, _, value = text.partition("=")
    if not PLAIN_KEY.fullmatch(key):
        return None
    if PLAIN_NUMBER.fullmatch(value):
        return key, int(value)
    return (key, value) if PLAIN_WORD.fullmatch(value) else None


def _by_grammar(text: str) -> tuple[str, Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException:
        raise UserError(
            f"cannot read {text!r}: write key=value, and quote what has spaces"
        ) from None
    if not override.key_or_group:
        raise UserError(f"cannot read {text!r}: write key=value")
    if override.is_add() or override.is_force_add() or override.is_delete() or override.package:
        raise UserError(f"cannot read {text!r}: write key=value")
    if override.is_sweep_override():
        raise UserError(f"{text!r} has several values: arms come from ablation=, a list is [a,b]")
    return override.key_or_group, _unquoted(override.value())


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted `key` of nested `values` in place; `UserError` names the nearest for none.

    Inside a mapping of a name in `FREE` any key is new and welcome.
    """
    if not takes(values, key):
        raise _unknown_key(key, values)
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        place = place[parent]
    if isinstance(place.get(last), dict) and place[last] and last not in FREE:
        inside = ", ".join(f"{key}.{name}" for name in sorted(place[last]))
        raise UserError(f"{key} is a section, set its keys: {inside}")
    place[last] = value


def takes(values: Mapping[str, Any], key: str) -> bool:
    """Whether there is a place for a dotted `key` in nested `values`."""
    *parents, last = key.split(".")
    place: Any = values
    for parent in parents:
        if not isinstance(place, Mapping) or parent not in place:
            return False
        place = place[parent]
    return isinstance(place, Mapping) and (last in place or any(p in FREE for p in parents[-1:]))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves.update(flat(value, f"{prefix}{name}."))
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def _unknown_key(key: str, values: Mapping[str, Any]) -> UserError:
    leaves = list(flat(values))
    last = {leaf.rsplit(".", 1)[-1]: leaf for leaf in reversed(leaves)}
    near = get_close_matches(key, leaves, n=3, cutoff=0.6)
    near += [
        last[n] for n in get_close_matches(key.rsplit(".", 1)[-1], list(last), n=2, cutoff=0.7)
    ]
    if near:
        return UserError(f"unknown key {key!r}: did you mean {' or '.join(dict.fromkeys(near))}?")
    sections = sorted(k for k, v in values.items() if isinstance(v, Mapping))
    return UserError(f"unknown key {key!r}: the sections are {', '.join(sections)}")


def _unquoted(value: Any) -> Any:
    if isinstance(value, list):
        return [_unquoted(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _unquoted(v) for k, v in value.items()}
    return getattr(value, "text", value)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
