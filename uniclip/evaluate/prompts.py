"""Class names and prompt templates of the published protocols, read from `uniclip/evaluate/data/`.

A name is bound to the data set's own key of a class (folder, WordNet id, label id), never to a
position: sources list the classes of one set in different orders. The files say where each list
comes from. A plan states what prompts it would use, so nothing here needs numpy.
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
"""Templates of a set that no protocol has."""

NAME_RULES = {
    "as they are": str.maketrans({}),
    "words": str.maketrans("_", " "),
    "words and slashes": str.maketrans("_/", "  "),
}
"""How a set's own key becomes a name where no list is needed."""

ENSEMBLES = ("imagenet80", "imagenet7", "imagenet81")
"""ImageNet's templates: all of CLIP's, the greedy subset of them, all and the bare name (UniCL)."""


def list_datasets() -> tuple[str, ...]:
    """The data sets that have names here."""
    return tuple(_read_data("names")["sets"])


def get_class_name_entry(dataset: str) -> Any:
    """All that is said here of a data set's class names; None for one that is not listed."""
    return _read_data("names")["sets"].get(dataset)


def get_templates(dataset: str, protocol: str = "clip2021") -> tuple[str, ...]:
    """The templates of a data set under a protocol, each with one {} for the name.

    dataset: a name of `datasets`, one of `ENSEMBLES`, or any other, which gets `OTHER`; ImageNet's
    depend on the protocol (`uniclip.evaluate.protocols.protocol`) and are asked for by their ensemble.
    """
    file = _read_data("templates")
    lists = {**file["sets"], **file["imagenet"], **file["variants"].get(protocol, {})}
    return tuple(lists.get(dataset, DEFAULT_TEMPLATES))


def get_class_names(
    dataset: str, classes: Sequence[str], protocol: str = "clip2021"
) -> dict[str, tuple[str, ...]]:
    """What each of `classes`, the data set's own keys, is called in a prompt: one or more names.

    Spelling is forgiven where it is harmless: upper and lower case, underscores, leading zeros of a
    label. A set that is not listed is called by its keys, underscores as spaces.

    Raises:
        UserError: if the set has a list and a class is not on it.
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
    """A user's own templates; `UserError` unless there are any and each has exactly one {}."""
    if not templates:
        raise UserError(f"{context} has no template")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise UserError(f"{context}: template {template!r} needs exactly one {{}} for the name")
    return tuple(templates)


def _get_entry(dataset: str, protocol: str) -> dict[str, Any]:
    file = _read_data("names")
    common = file["sets"].get(dataset, {"rule": "words", "source": "the set's own names"})
    variant = file["variants"].get(protocol, {}).get(dataset)
    if variant is None:
        return dict(common)
    return {**{k: v for k, v in common.items() if k not in ("names", "rule")}, **variant}


@cache
def _names_by_normalized_key(dataset: str, protocol: str) -> dict[str, tuple[str, ...]]:
    """Names by the plain spelling of the key, aliases included."""
    entry = _get_entry(dataset, protocol)
    names_by_key = {
        _normalize_key(key): tuple(class_names) for key, class_names in entry["names"].items()
    }
    assert len(names_by_key) == len(entry["names"]), f"{dataset}: two keys of one plain spelling"
    for alias, key in entry.get("aliases", {}).items():
        names_by_key.setdefault(_normalize_key(alias), names_by_key[_normalize_key(key)])
    return names_by_key


def _normalize_key(key: str) -> str:
    return str(int(key)) if key.isdecimal() else key.casefold().replace("_", " ").strip()


@cache
def _read_data(name: str) -> dict[str, Any]:
    file: dict[str, Any] = json.loads((DATA_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return file
