"""Composition of a plain dictionary from group choices and overrides, with Hydra's Compose API.

Hydra composes the groups. Overrides of single keys (`uniclip.config.overrides`) are applied here,
so that an error suggests the nearest key instead of Hydra's `+key` syntax.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from uniclip.config import DATA, METHODS
from uniclip.config.derived import get_value
from uniclip.config.overrides import quote_text
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.hashing import digest, get_library_version
from uniclip.io.memo import disk_memoize

CONF = Path(__file__).parents[1] / "conf"
FREE_FORM_KEYS = ("options", "optimizer_options", "additional_parameters")
"""Names of mappings with arbitrary keys, which the user may replace or extend."""
TEXT_KEYS_OF_FOLDER = (
    *("name", "width", "layers", "heads", "context_length", "vocab_size", "tokenizer"),
    *("activation", "layer_norm_eps", "pooling"),
)
"""Keys of the text encoder that follow from its folder."""
DEPENDENT_VALUES: dict[str, dict[str, Any]] = {
    "model.image.name": {
        "model.image.options": {},
        "model.image.image_size": None,
        "model.image.crop_pct": None,
        "model.image.interpolation": None,
    },
    "model.image.pretrained": {
        "model.image.crop_pct": None,
        "model.image.interpolation": None,
    },
    "model.text.folder": {
        **dict.fromkeys((f"model.text.{key}" for key in TEXT_KEYS_OF_FOLDER), None),
        "model.text.options": {},
    },
    "model.text.tokenizer": {"model.text.vocab_size": None},
}
"""Key -> the keys that belong to its value, and what they become if another value is chosen: null
is filled in by `uniclip.config.derived`."""
REGISTRIES: dict[str, dict[str, type]] = {"data": DATA, "method": METHODS}
"""Groups whose choices need no YAML file: registered classes are selected by name."""
NO_LOGGING = ("hydra/job_logging=none", "hydra/hydra_logging=none")
"""Hydra's logging is not used; composing its configuration takes a quarter of the time."""


def compose(name: str, choices: Mapping[str, str], folders: Sequence[Path]) -> dict[str, Any]:
    """Return the configuration `name` with the given choice for each group.

    Args:
        name: Name of the primary configuration file.
        choices: Group -> choice.
        folders: Folders of YAML files; later ones have precedence.

    Raises:
        UserError: no folder has a choice, or a YAML file is broken.
    """
    for group, choice in choices.items():
        valid_choices = list_choices(group, folders)
        if choice not in valid_choices:
            raise make_unknown_name_error(group, choice, valid_choices)
    # Hydra takes 0.2 s for a composition, and a plan needs several.
    yaml_contents = [
        [str(p), p.read_bytes().hex()] for f in folders for p in sorted(f.rglob("*.yaml"))
    ]
    inputs = [
        name,
        dict(choices),
        [str(f) for f in folders],
        yaml_contents,
        get_library_version("hydra-core"),
    ]
    config = disk_memoize(
        "composed", digest(inputs), lambda: _compose_with_hydra(name, choices, folders)
    )
    return dict(config)


def _compose_with_hydra(
    name: str, choices: Mapping[str, str], folders: Sequence[Path]
) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    main_folder, *extra_folders = (str(f) for f in folders)
    path = ",".join(quote_text(f"file://{f}") for f in extra_folders)
    search_path_override = f"hydra.searchpath=[{path}]"
    group_overrides = [f"{g}={quote_text(c)}" for g, c in choices.items()]
    overrides = [search_path_override, *NO_LOGGING, *group_overrides]
    try:
        with _isolate_hydra(), initialize_config_dir(main_folder, version_base=None):
            for group, choice in choices.items():
                if choice not in _list_yaml_choices(group, folders):
                    node = {group: {"name": choice}}
                    ConfigStore.instance().store(choice, node, group=group, package="_global_")
            hydra_config = hydra_compose(name, overrides)
        values = OmegaConf.to_container(hydra_config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"the configuration cannot be composed: {_format_error(error)}") from None
    except Exception as error:
        if type(error).__module__.startswith("yaml"):
            raise UserError(f"a YAML file is broken: {_format_error(error)}") from None
        raise
    assert isinstance(values, dict)
    return {str(k): v for k, v in values.items()}


@contextmanager
def _isolate_hydra() -> Iterator[None]:
    """Set aside the Hydra application that calls this code, if one does, and what it registered.

    Both are singletons. Nodes of the ConfigStore with the name of one of our files would be taken
    for its schema.
    """
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    store = ConfigStore.instance()
    application, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    repository = store.repo
    store.repo = {k: v for k, v in repository.items() if k.startswith(("hydra", "_"))}
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, store.repo = application, repository


def load_yaml(path: Path) -> Any:
    """Return the content of a YAML file as plain values.

    Raises:
        UserError: the file is broken.
    """
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # the errors of its parser have no common class
        raise UserError(f"{path} is broken: {_format_error(error)}") from None


NON_GROUP_FOLDERS = {"benchmark", "protocol"}
"""Folders of named lists and protocols. They are not groups: of two choices in one group, the last
would silently be used."""


def list_groups(folders: Sequence[Path]) -> list[str]:
    """Return the names of the groups: folders that contain YAML files.

    A user's folder may contain other things too, such as a store.
    """
    group_names = {p.parent.name for folder in folders for p in folder.glob("*/*.yaml")}
    return sorted(group_names - NON_GROUP_FOLDERS)


def list_choices(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the choices of a group: YAML files in all folders, and registered classes."""
    return sorted(_list_yaml_choices(group, folders) | REGISTRIES.get(group, {}).keys())


def _list_yaml_choices(group: str, folders: Sequence[Path]) -> set[str]:
    return {p.stem for f in folders for p in (f / group).glob("*.yaml")}


@cache
def get_default_choices() -> dict[str, str]:
    """Return the default choice of each group of a run."""
    defaults_list = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    choices_by_group = {
        k: v for entry in defaults_list if isinstance(entry, dict) for k, v in entry.items()
    }
    return {k: v for k, v in choices_by_group.items() if not k.startswith("optional ")}


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted `key` of nested `values` in place.

    In mappings named in `FREE_FORM_KEYS` any key may be added.

    Raises:
        UserError: there is no such key; suggests the nearest ones.
    """
    if not has_key(values, key):
        raise _make_unknown_key_error(key, values)
    *parents, last = key.split(".")
    node: Any = values
    for parent in parents:
        node = node[parent]
    if isinstance(node.get(last), dict) and node[last] and last not in FREE_FORM_KEYS:
        subkeys = ", ".join(f"{key}.{name}" for name in sorted(node[last]))
        raise UserError(f"{key} is a section, set its keys: {subkeys}")
    node[last] = value


def apply_overrides(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Set dotted keys of nested `values` in place, and reset those that belong to a replaced value.

    A preset states options of its own image encoder, which do not suit another one. An override of
    such a dependent key, or of a part of it, is not replaced.

    Raises:
        UserError: there is no such key; suggests the nearest ones.
    """
    for key, dependents in DEPENDENT_VALUES.items():
        if key not in overrides or get_value(values, key) == overrides[key]:
            continue
        for dependent, value in dependents.items():
            if has_key(values, dependent):
                set_key(values, dependent, copy.deepcopy(value))
    for key, value in overrides.items():
        set_key(values, key, copy.deepcopy(value))


def has_key(values: Mapping[str, Any], key: str) -> bool:
    """Return whether a dotted `key` exists in nested `values`, or may be added."""
    *parents, last = key.split(".")
    node: Any = values
    for parent in parents:
        if not isinstance(node, Mapping) or parent not in node:
            return False
        node = node[parent]
    return isinstance(node, Mapping) and (
        last in node or any(p in FREE_FORM_KEYS for p in parents[-1:])
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping of dotted keys."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            leaves.update(flatten(value, f"{prefix}{name}."))
        else:
            leaves[f"{prefix}{name}"] = value
    return leaves


def _make_unknown_key_error(key: str, values: Mapping[str, Any]) -> UserError:
    leaves = list(flatten(values))
    leaf_by_name = {leaf.rsplit(".", 1)[-1]: leaf for leaf in reversed(leaves)}
    suggestions = get_close_matches(key, leaves, n=3, cutoff=0.75)
    suggestions += [
        leaf_by_name[n]
        for n in get_close_matches(key.rsplit(".", 1)[-1], list(leaf_by_name), n=2, cutoff=0.7)
    ]
    if suggestions:
        return UserError(
            f"unknown key {key!r}: did you mean {' or '.join(dict.fromkeys(suggestions))}?"
        )
    names = [f"{k}.*" if isinstance(v, Mapping) and v else k for k, v in values.items()]
    return UserError(f"unknown key {key!r}: the keys are {', '.join(sorted(names))}")


def _format_error(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
