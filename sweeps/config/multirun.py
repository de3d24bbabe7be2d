"""Words that list several values, as in Hydra's multi-run: they make arms, or several sweeps.

`train.learning_rate=1e-3,2e-3` makes an ablation with an arm for each value. `ablation=a,b`,
`data=a,b` and `budget=a,b` make a sweep for each value, and beside `ablation=` so does any key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from ablations import schema as ablation_schema
from ablations.listed import build_listed_ablation
from ablations.schema import Ablation
from sweeps.config import sweep_keys
from sweeps.config.unknown_keys import make_unknown_key_error
from uniclip.config import compose
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.config.overrides import (
    LiteralOverride,
    ValueForms,
    holds_text,
    parse_overrides,
    parse_value_list,
)
from uniclip.errors import UserError

ARM_GROUPS = ("method", "model", "recipe")
"""Groups of which an arm may choose."""
SWEEP_GROUPS = ("ablation", "budget", "data")
"""Groups that hold for all arms of a sweep: several choices are several sweeps."""
NAME_KEYS = ("model.image.name",)
"""Keys whose text is a name, which has no comma."""
CONDITION_KEYS = ("data.where",)
"""Keys whose text may be listed if each value is quoted, or null."""
CONDITION = r"""(?:null|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
CONDITION_LIST = re.compile(rf"\s*{CONDITION}(?:\s*,\s*{CONDITION})+\s*")
OPTION_PREFIX = "model.image.options."
"""Keys of any name whose values are lists too; text with a comma is quoted."""
MAX_SWEEPS = 64
"""Most sweeps of one command."""


def may_have_lists(words: Iterable[str]) -> bool:
    """Return False if no word lists values, as far as that is seen without parsing."""
    return any("," in word or "(" in word for word in words)


def split_lists(
    words: Sequence[str], conf_dirs: Sequence[Path] = ()
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the words with one value, and the values of those that list several, by key.

    A key that holds text takes its value as it stands, commas included: only choices of groups,
    names, conditions that are all quoted and values that are no text are lists.

    Args:
        words: `key=value` words.
        conf_dirs: Folders of YAML files, whose choices `glob` selects from.

    Raises:
        UserError: a list is not valid, is of a key that has one value for all arms, or is given
            twice.
    """
    if not may_have_lists(words):
        return [*words], {}
    forms = sweep_keys.collect_value_forms()
    single_words: list[str] = []
    lists: dict[str, list[str]] = {}
    for word in words:
        key = word.partition("=")[0]
        values = None
        if not isinstance(word, LiteralOverride) and _may_list(word, forms):
            names = compose.list_choices(key, conf_dirs) if key in sweep_keys.GROUP_KEYS else []
            values = parse_value_list(word, names)
        if values is None:
            single_words.append(word)
            continue
        _require_run_key(word, values)
        if key in lists:
            raise UserError(f"{key} is given twice")
        lists[key] = values
    for word in single_words:
        if (key := word.partition("=")[0]) in lists:
            raise UserError(f"{key} is given twice")
    return single_words, lists


def expand_sweeps(words: Sequence[str]) -> list[list[str]]:
    """Return the words of each sweep that a command line asks for, in the order of the lists.

    Raises:
        UserError: as `split_lists`, or there are too many.
    """
    conf_words = [word for word in words if word.startswith("conf_dir=")]
    conf_dir = parse_overrides(conf_words, sweep_keys.collect_value_forms()).get("conf_dir")
    folders = [compose.CONF, ablation_schema.CONF, *([Path(str(conf_dir))] if conf_dir else [])]
    lists = split_lists(words, folders)[1]
    has_ablation = any(word.startswith("ablation=") for word in words)
    expanded = [key for key in lists if has_ablation or key in SWEEP_GROUPS]
    sweeps = []
    for values in product(*(lists[key] for key in expanded)):
        chosen = dict(zip(expanded, values))
        sweeps.append(
            [
                f"{key}={chosen[key]}" if (key := word.partition("=")[0]) in chosen else word
                for word in words
            ]
        )
    if len(sweeps) > MAX_SWEEPS:
        raise UserError(
            f"{' x '.join(expanded)} are {len(sweeps)} sweeps, at most {MAX_SWEEPS} are run: list "
            "fewer values"
        )
    return sweeps


def require_one_sweep(lists: dict[str, list[str]], *, has_ablation: bool) -> None:
    """Check the lists of a command that takes one sweep.

    Raises:
        UserError: the lists are several sweeps.
    """
    expanded = {k: v for k, v in lists.items() if has_ablation or k in SWEEP_GROUPS}
    if expanded:
        words = " ".join(f"{key}={','.join(values)}" for key, values in expanded.items())
        num_sweeps = prod(len(values) for values in expanded.values())
        raise UserError(f"{words} names {num_sweeps} sweeps: write the command once for each")


def build_ablation(lists: dict[str, list[str]]) -> Ablation:
    """Return the ablation whose arms are the combinations of listed values.

    Raises:
        UserError: a value cannot be read, or there are too many combinations.
    """
    forms = sweep_keys.collect_value_forms()

    def parse(key: str, text: str) -> Any:
        return parse_overrides([f"{key}={text}"], forms)[key]

    return build_listed_ablation(
        {
            key: [parse(key, text) for text in texts]
            for key, texts in lists.items()
            if key not in ARM_GROUPS
        },
        {key: texts for key, texts in lists.items() if key in ARM_GROUPS},
    )


def reject_unknown_lists(words: Sequence[str], command_keys: Iterable[str]) -> None:
    """Raise `UserError` for an unknown key with several values, in a command without an ablation.

    Such a word is no list, since the key may be free text; but it was meant to make arms.
    """
    forms = sweep_keys.collect_value_forms()
    for word in words:
        key, _, value = word.partition("=")
        if "," in value and key not in forms and key not in command_keys:
            raise make_unknown_key_error(key, list(forms))


def _may_list(word: str, forms: ValueForms) -> bool:
    """Return whether a comma in the value of a word divides a list."""
    key, _, value = word.partition("=")
    if key in CONDITION_KEYS:
        return CONDITION_LIST.fullmatch(value) is not None
    is_name = key in (*sweep_keys.GROUP_KEYS, *NAME_KEYS) or key.startswith(OPTION_PREFIX)
    return is_name or (key in forms and not holds_text(forms[key]))


def _require_run_key(word: str, values: Sequence[str]) -> None:
    """Raise `UserError` for a list of a key that does not say what a run is."""
    key = word.partition("=")[0]
    if key in ("seeds", "seed"):
        raise UserError(f"{word}: all arms have the same seeds: write seeds=[{','.join(values)}]")
    if key in SWEEP_GROUPS or key in ARM_GROUPS:
        return
    if sweep_keys.is_run_only(KEY_ALIASES.get(key, key)):
        raise UserError(
            f"{word}: {key} does not change what a run is, so it makes no arms: write one value"
        )
