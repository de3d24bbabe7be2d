"""Class names and prompt templates of the published protocols, read from `uniclip/evaluate/data/`.

A name is bound to the data set's key of a class (folder, WordNet id, label id), never to a
position: sources list the classes of a data set in different orders. The files state the source of
each list. A plan contains the prompts that it would use, so nothing here imports numpy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from uniclip.errors import UserError, make_unknown_name_error

DATA_FOLDER = Path(__file__).resolve().parent / "data"

DEFAULT_TEMPLATES = ("a photo of a {}.",)
"""Templates of a data set that no protocol defines."""

NAME_RULES = {
    "verbatim": str.maketrans({}),
    "underscores_to_spaces": str.maketrans("_", " "),
    "underscores_and_slashes_to_spaces": str.maketrans("_/", "  "),
}
"""How the key of a class becomes its name, where no list is needed."""

ENSEMBLES = ("imagenet80", "imagenet7", "imagenet81")
"""ImageNet's templates: all of CLIP's, a greedy subset, and all with the bare name (UniCL)."""


def list_datasets() -> tuple[str, ...]:
    """Return the data sets that have class names here."""
    return tuple(_read_data("names")["datasets"])


def get_class_name_entry(dataset: str) -> Any:
    """Return the definition of a data set's class names; None if it is not listed."""
    return _read_data("names")["datasets"].get(dataset)


def get_templates(dataset: str, protocol: str = "clip2021") -> tuple[str, ...]:
    """Return the templates of a data set under a protocol, each with one {} for the name.

    dataset: a data set, one of `ENSEMBLES`, or any other name, for `DEFAULT_TEMPLATES`. ImageNet's
    ensemble depends on the protocol (`uniclip.evaluate.protocols.published`).
    """
    file = _read_data("templates")
    lists = {**file["datasets"], **file["imagenet"], **file["variants"].get(protocol, {})}
    return tuple(lists.get(dataset, DEFAULT_TEMPLATES))


def get_class_names(
    dataset: str, classes: Sequence[str], protocol: str = "clip2021"
) -> dict[str, tuple[str, ...]]:
    """Return the prompt names, one or more, of each of `classes`, the data set's keys.

    Keys match regardless of case, underscores, and leading zeros of a label. Classes of a data set
    that is not listed are named by their keys, underscores as spaces.

    Raises:
        UserError: The data set has a list and a class is not on it.
    """
    entry = _get_entry(dataset, protocol)
    if "names" not in entry:
        rule = NAME_RULES[entry["rule"]]
        aliases = entry.get("aliases", {})
        return {c: (aliases.get(c, c).translate(rule),) for c in classes}
    names_by_key = _names_by_normalized_key(dataset, protocol)
    for key in classes:
        if _normalize_key(key) not in names_by_key:
            raise make_unknown_name_error(f"class of {dataset}", key, list(entry["names"]))
    return {c: names_by_key[_normalize_key(c)] for c in classes}


def validate_templates(templates: Sequence[str], context: str) -> tuple[str, ...]:
    """Return user-defined templates; `UserError` unless there are any, each with one {}."""
    if not templates:
        raise UserError(f"{context} has no template")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise UserError(f"{context}: template {template!r} needs exactly one {{}} for the name")
    return tuple(templates)


def _get_entry(dataset: str, protocol: str) -> dict[str, Any]:
    file = _read_data("names")
    unlisted = {"rule": "underscores_to_spaces", "source": "the data set's names"}
    common = file["datasets"].get(dataset, unlisted)
    variant = file["variants"].get(protocol, {}).get(dataset)
    if variant is None:
        return dict(common)
    return {**{k: v for k, v in common.items() if k not in ("names", "rule")}, **variant}


@cache
def _names_by_normalized_key(dataset: str, protocol: str) -> dict[str, tuple[str, ...]]:
    """Return the names by normalized key, aliases included."""
    entry = _get_entry(dataset, protocol)
    names_by_key = {
        _normalize_key(key): tuple(class_names) for key, class_names in entry["names"].items()
    }
    assert len(names_by_key) == len(entry["names"]), f"{dataset}: two keys with one normalized form"
    for alias, key in entry.get("aliases", {}).items():
        names_by_key.setdefault(_normalize_key(alias), names_by_key[_normalize_key(key)])
    return names_by_key


def _normalize_key(key: str) -> str:
    return str(int(key)) if key.isdecimal() else key.casefold().replace("_", " ").strip()


@cache
def _read_data(name: str) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((DATA_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return file
