"""Our configurations in Hydra's ConfigStore, so that a program of the user composes them.

After `register_configs()` a YAML file with `defaults: [uniclip, _self_]` has every key of a run,
and `data=`, `method=`, `model=`, `budget=` and `recipe=` choose as on our command line. Sections
are structured: Hydra checks types, and each class has our docstrings.
"""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Union

import yaml

from uniclip.config import ViewsConfig
from uniclip.config.binding import TAGGED_UNIONS, get_field_types, to_builtins
from uniclip.config.compose import CONF, NON_GROUP_FOLDERS, REGISTRIES, flatten
from uniclip.config.keys import read_field_docs
from uniclip.config.model import ImageConfig, ModelConfig, TextConfig
from uniclip.config.schema import RunConfig

CONFIG_NAME = "uniclip"
"""Name of the configuration of a run in a `defaults` list."""
PROVIDER = "uniclip"
OPEN_FIELDS = {
    *((ImageConfig, name) for name in ("image_size", "crop_pct", "interpolation")),
    *((TextConfig, name) for name in ("name", "tokenizer", "vocab_size")),
}
"""Fields whose value follows from others unless it is given (`uniclip.config.derived`)."""
GLOBAL_PACKAGE = "# @package _global_"


def register_configs() -> None:
    """Store the configuration of a run and the choices of its groups in Hydra's ConfigStore.

    Calling it again changes nothing but that classes of plug-ins imported since are added.
    """
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(CONFIG_NAME, _build_root(), provider=PROVIDER)
    for path in sorted(CONF.rglob("*.yaml")):
        group = str(path.parent.relative_to(CONF))
        if group == "." or group in NON_GROUP_FOLDERS:
            continue
        node, package = _build_choice(group, path)
        store.store(path.stem, node, group=group, package=package, provider=PROVIDER)
    for group, classes in REGISTRIES.items():
        for name, cls in classes.items():
            if not (CONF / group / f"{name}.yaml").exists():
                node = {group: build_structured_class(cls)()}
                store.store(name, node, group=group, package="_global_", provider=PROVIDER)


@cache
def build_structured_class(cls: type) -> type:
    """Return a dataclass with the fields of a configuration class, as OmegaConf takes it.

    OmegaConf has no `Literal` and makes frozen classes read-only. Ranges and names are checked when
    the run is bound. The docstring lists the fields with their meanings.
    """
    from omegaconf import MISSING

    field_types, meanings = get_field_types(cls), read_field_docs(cls)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(cls):
        if (cls, field.name) in TAGGED_UNIONS:
            fields.append((field.name, Any, MISSING))
            continue
        hint = field_types[field.name]
        if dataclasses.is_dataclass(hint):
            nested = build_structured_class(typing.cast(type, hint))
            fields.append((field.name, nested, dataclasses.field(default_factory=nested)))
            continue
        is_open = (cls, field.name) in OPEN_FIELDS or field.metadata.get("follows_model")
        converted = _convert_type(hint)
        default = None if is_open else _get_default(field, MISSING)
        fields.append(
            (
                field.name,
                Union[converted, None] if is_open else converted,
                dataclasses.field(default_factory=partial(copy.deepcopy, default)),
            )
        )
    summary = " ".join((cls.__doc__ or "").split())
    attributes = "\n".join(f"    {name}: {meaning}" for name, meaning in meanings.items())
    structured = dataclasses.make_dataclass(cls.__name__, fields)
    structured.__doc__ = f"{summary}\n\nAttributes:\n{attributes}\n"
    structured.__module__ = __name__
    return structured


def _build_root() -> dict[str, Any]:
    """Return the configuration of a run: the defaults of `conf/config.yaml`, sections typed."""
    values = yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))
    choices = [entry for entry in values.pop("defaults") if entry != "_self_"]
    instance = build_structured_class(RunConfig)()
    root = {field.name: getattr(instance, field.name) for field in dataclasses.fields(instance)}
    for key, value in flatten(values).items():
        *sections, name = key.split(".")
        if sections:
            setattr(root[sections[0]], name, value)
        else:
            root[name] = value
    return {"defaults": ["_self_", *choices], **root}


def _build_choice(group: str, path: Path) -> tuple[Any, str | None]:
    """Return the node of a YAML file, and its package if that is not the group."""
    text = path.read_text(encoding="utf-8")
    values = yaml.safe_load(text) or {}
    is_global = text.startswith(GLOBAL_PACKAGE)
    run_keys = {field.name for field in dataclasses.fields(RunConfig)}
    if is_global:  # `seeds` of a budget is a key of sweeps
        values = {key: value for key, value in values.items() if key in run_keys}
    classes: dict[str, type] | None = REGISTRIES.get(group)
    sections: dict[str, type] = {"views": ViewsConfig}
    if classes is not None:
        section = values[group] if is_global else values
        sections[group] = classes[section["name"]]
    if group == "model":
        sections[group] = ModelConfig
    if not is_global:
        return (_fill(sections[group], values) if group in sections else values), None
    if group == "method":
        values = {k: _fill(sections[k], v) if k in sections else v for k, v in values.items()}
    return values, "_global_"


def _fill(cls: type, values: Mapping[str, Any]) -> Any:
    """Return a structured instance with some of its values replaced."""
    instance = build_structured_class(cls)()
    for name, value in values.items():
        current = getattr(instance, name)
        if dataclasses.is_dataclass(current) and isinstance(value, Mapping):
            value = _fill(get_field_types(cls)[name], value)
        setattr(instance, name, value)
    return instance


def _get_default(field: dataclasses.Field[Any], missing: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return to_builtins(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return to_builtins(field.default_factory())
    return missing


def _convert_type(hint: Any) -> Any:
    """Return the nearest type that OmegaConf knows; Any if there is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (int, float, bool, str):
        return hint
    if isinstance(hint, type) and issubclass(hint, Enum):
        return str
    if origin is Literal:  # YAML reads the word true as a boolean
        return Union[bool, str] if "true" in arguments else str
    if origin in (Union, types.UnionType):
        others = [_convert_type(a) for a in arguments if a is not type(None)]
        if len(others) == 1 and len(arguments) == 2:
            return Union[others[0], None]
        return Any
    if origin is tuple:
        item = _convert_type(arguments[0])
        return types.GenericAlias(list, item if item in (int, float, bool, str) else Any)
    return dict[str, Any] if origin is dict or hint is dict else Any
