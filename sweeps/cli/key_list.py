"""The keys that a user can set, with default, range and meaning, for `list keys`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweeps.config import multirun, sweep_keys
from sweeps.config.request import parse_configs
from sweeps.config.sweep_keys import GROUP_CLASSES, GROUP_KEYS, KeyRoot
from sweeps.config.unknown_keys import SYNONYMS, make_unknown_key_error
from sweeps.tuning.tuner import TuneConfig
from uniclip.config.binding import to_builtins
from uniclip.config.compose import flatten
from uniclip.config.keys import Key, collect_sections, format_value
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.errors import UserError

TUNE_CHOICE = "tune"
"""Where the keys of a tuning exist."""
UNSET_KEYS = ("seed", "stream", "runtime.stop_fraction")
"""Keys of a run that its sweep sets."""
GROUP_MEANINGS = {
    "ablation": "Which arms are compared (list ablations).",
    "budget": "Steps, batch size and seeds (list budgets).",
    "recipe": "Optimizer and schedule (list recipes).",
    "data": "Training data, unless the arms choose them (list data).",
    "method": "Method of pre-training, unless the arms choose it (list methods).",
    "model": "Encoders (list models).",
    "launcher": "Where runs are executed: local, slurm or debug.",
    "conf_dir": "Your folder of YAML files: ablations, budgets, models, spaces ...",
}
"""Keys that choose files, which are not fields of a class."""


@dataclass(frozen=True)
class ListedKey:
    """A key as it is listed."""

    key: Key
    choices: tuple[str, ...] = ()
    """The choices with which it exists, such as "data=csv"; empty for keys that always exist."""

    def format_lines(self) -> Iterator[str]:
        """Yield the key with its default, its values and range, and its meaning."""
        default = "" if self.key.default == "required" else self.key.default
        details = [self.key.values, self.key.range, *[f"with {c}" for c in self.choices[:1]]]
        if len(self.choices) > 1:
            details[-1] = f"with {', '.join(self.choices)}"
        yield f"{self.key.name}={default}  ({'; '.join(filter(None, details))})"
        yield f"    {self.key.meaning}"

    def to_record(self) -> dict[str, object]:
        """Return the key as a JSON record."""
        return {
            "key": self.key.name,
            "default": self.key.default,
            "values": self.key.values,
            "range": self.key.range,
            "meaning": self.key.meaning,
            "choices": list(self.choices),
        }


def find_keys(prefix: str, overrides: list[str]) -> list[ListedKey]:
    """Return the keys that begin with `prefix` or, if none does, those that it may mean.

    Args:
        prefix: The start of a key, a word of it, or a word for it; "" for all keys.
        overrides: Group choices, such as data=csv, whose defaults are shown.

    Raises:
        UserError: no key is meant, or an override chooses no group or several.
    """
    for word in overrides:
        if (key := word.partition("=")[0]) not in (*GROUP_KEYS, "conf_dir", "plugins"):
            raise UserError(f"list keys takes choices such as data=csv or budget=smoke, not {key}=")
    multirun.require_one_sweep(multirun.split_lists(overrides)[1], has_ablation=False)
    listed_keys = list_keys(overrides)
    name = prefix.rstrip(".").partition("=")[0]
    name = KEY_ALIASES.get(name, name)
    leaf = name.rsplit(".", 1)[-1].replace("-", "_").lower()
    meant = {key for key, words in SYNONYMS.items() if leaf in words}
    matches = [k for k in listed_keys if _is_below(k.key.name, name)] or [
        k for k in listed_keys if k.key.name.startswith(name) or k.key.name in meant
    ]
    if not matches or meant:
        matches += [k for k in listed_keys if leaf in k.key.name and k not in matches]
        matches = matches or [k for k in listed_keys if leaf in k.key.meaning.lower()]
    if not matches:
        raise make_unknown_key_error(name, [k.key.name for k in listed_keys])
    return matches


def list_keys(overrides: list[str]) -> list[ListedKey]:
    """Return every key, with the defaults of these choices."""
    sweep_config, run_config = parse_configs(
        [word for word in overrides if not word.startswith("ablation=")]
    )
    defaults = flatten({**to_builtins(sweep_config), **to_builtins(run_config)})
    present_choices = {f"{group}={defaults.get(f'{group}.name')}" for group in GROUP_CLASSES}
    listed_keys = [ListedKey(_make_group_key(name)) for name in GROUP_MEANINGS]
    roots = [*sweep_keys.list_key_roots(), KeyRoot(cls=TuneConfig, choice=TUNE_CHOICE)]
    roots.sort(key=lambda root: bool(root.choice) and root.choice not in present_choices)
    keys_by_name: dict[str, ListedKey] = {}
    for root in roots:
        is_present = not root.choice or root.choice in present_choices
        for key in _iterate_keys(root, defaults if is_present else {}):
            known = keys_by_name.setdefault(key.name, ListedKey(key))
            choices = (*known.choices, root.choice) if root.choice else ()
            keys_by_name[key.name] = ListedKey(known.key, choices)
    return [*listed_keys, *keys_by_name.values()]


def _iterate_keys(root: KeyRoot, defaults: Mapping[str, object]) -> Iterator[Key]:
    """Yield the keys of a class; `defaults` replace those of the class."""
    for section in collect_sections(root.cls, root.prefix):
        for key in section.keys:
            if key.name in UNSET_KEYS:
                continue
            default = key.default
            if key.name in defaults:
                default = format_value(defaults[key.name])
            yield Key(
                name=key.name,
                type=key.type,
                values=key.values,
                default=default,
                range=key.range,
                meaning=key.meaning,
            )


def _make_group_key(name: str) -> Key:
    return Key(
        name=name,
        type="str",
        values="text",
        default="required",
        range="",
        meaning=GROUP_MEANINGS[name],
    )


def _is_below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(f"{prefix}.")


def format_key_list(listed_keys: Sequence[ListedKey]) -> Iterable[str]:
    """Return the lines of a list of keys."""
    return (line for listed in listed_keys for line in listed.format_lines())
