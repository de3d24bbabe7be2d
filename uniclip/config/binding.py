"""Binding of plain dictionaries to frozen dataclasses, with types, ranges and names checked.

A class declares its fields with `config_field`; a field whose class is selected by its `name` is
entered in `TAGGED_UNIONS`. Every mistake raises one `UserError` line that names the key, the value
and the choices.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, field
from enum import Enum
from functools import cache
from typing import Any, Literal, Union

from uniclip.errors import UserError, make_unknown_name_error

TAGGED_UNIONS: dict[tuple[type, str], dict[str, type]] = {}
"""(class, field) -> the classes of its values, by name."""


def config_field(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    value_if_missing: Any = MISSING,
    run_only: bool = False,
    is_path: bool = False,
    follows_model: bool = False,
) -> Any:
    """Return a dataclass field with a range.

    Args:
        default: Its default; a callable is used as the default factory.
        low, high, above: The range of its numbers; `above` is an exclusive lower bound.
        value_if_missing: The value with which code behaves as before the field existed: specs that
            lack the field are read with it, and it is not hashed.
        run_only: The field states how a run is executed or where its data lie: never hashed.
        is_path: The text is a path of the user: `~` stands for the home directory.
        follows_model: Null or no value means the corresponding one of the model.
    """
    bounds = {"low": low, "high": high, "above": above}
    metadata: dict[str, Any] = {k: v for k, v in bounds.items() if v is not None}
    flags = {"run_only": run_only, "is_path": is_path, "follows_model": follows_model}
    metadata |= {k: v for k, v in flags.items() if v}
    if value_if_missing is not MISSING:
        metadata["value_if_missing"] = value_if_missing
    if callable(default):
        # A mapping cannot be hashed: it is left out of `hash`, not of the comparison.
        is_hashed = False if default is dict else None
        return field(default_factory=default, metadata=metadata, hash=is_hashed)
    return field(default=default, metadata=metadata)


def bind(cls: type, values: Mapping[str, Any], key_prefix: str = "") -> Any:
    """Return an instance of dataclass `cls` with the plain `values`.

    Raises:
        UserError: a key is unknown or missing, or a value is invalid; names key, value and choices.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{key_prefix or cls.__name__} must be a mapping, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    field_types = get_field_types(cls)
    for name in values:
        if name not in fields:
            raise make_unknown_name_error(
                "key", f"{key_prefix}{name}", [f"{key_prefix}{n}" for n in fields]
            )
    kwargs = {}
    for name, f in fields.items():
        path = f"{key_prefix}{name}"
        if name in values:
            union_members = TAGGED_UNIONS.get((cls, name))
            if union_members is not None:
                kwargs[name] = _bind_tagged_union(union_members, values[name], path)
            else:
                kwargs[name] = _bind_value(field_types[name], values[name], path)
                _check_range(kwargs[name], f.metadata, path)
                if f.metadata.get("is_path") and isinstance(kwargs[name], str):
                    kwargs[name] = expand_home(kwargs[name], path)
        elif f.default is MISSING and f.default_factory is MISSING:
            raise UserError(f"{path} is missing")
    return cls(**kwargs)


@cache
def get_field_types(cls: type) -> dict[str, Any]:
    """Return the resolved type hints of the fields of a dataclass."""
    return typing.get_type_hints(cls)


def to_builtins(config: Any) -> Any:
    """Return a configuration or record as dictionaries, lists and scalars, for JSON."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_builtins(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(k): to_builtins(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_builtins(v) for v in config]
    return config


def expand_home(path: str, key: str) -> str:
    """Return a path with `~` and `~user` replaced by the home directory.

    Args:
        path: The path as the user wrote it.
        key: The key of the configuration that it is the value of, for the error.

    Raises:
        UserError: There is no such user.
    """
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise UserError(
            f"{key}={path}: there is no user {path.split('/')[0][1:]!r}; write ./{path} for a "
            "file of this name"
        )
    return expanded


def list_run_only_fields(cls: type) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass that are never hashed."""
    return tuple(f.name for f in dataclasses.fields(cls) if f.metadata.get("run_only"))


def _bind_tagged_union(union_members: dict[str, type], values: Any, path: str) -> Any:
    if not isinstance(values, Mapping) or "name" not in values:
        raise UserError(f"{path} must be a mapping with a name, got {values!r}")
    if not isinstance(values["name"], str) or values["name"] not in union_members:
        raise make_unknown_name_error(path, values["name"], union_members)
    return bind(union_members[values["name"]], values, f"{path}.")


def _bind_value(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _bind_any(value, path)
    if dataclasses.is_dataclass(hint):
        return bind(typing.cast(type, hint), value, f"{path}.")
    if isinstance(hint, type) and issubclass(hint, Enum):
        values = [member.value for member in hint]
        if value in values:
            return hint(value)
        raise make_unknown_name_error(path, value, map(str, values))
    if origin is Literal:
        is_truth_value = str(value).lower() in ("true", "false")
        literal = str(value).lower() if is_truth_value else value
        if literal in arguments:  # YAML reads the word true as a boolean; Python's is True
            return literal
        raise make_unknown_name_error(path, value, [str(a) for a in arguments])
    if origin in (Union, types.UnionType):
        return _bind_union(arguments, value, path)
    if origin is tuple:
        return _bind_tuple(arguments, value, path)
    if origin is dict:
        if isinstance(value, Mapping):
            return {str(k): _bind_value(arguments[1], v, f"{path}.{k}") for k, v in value.items()}
        raise UserError(f"{path} must be a mapping, got {value!r}")
    return _bind_scalar(hint, value, path)


_EXPECTATION = re.compile(
    " must be (a list|a whole number|a number|text|true or false|null), got .*", re.DOTALL
)
"""An error of a value of the wrong type, after the path of the value."""


def _bind_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    errors: list[str] = []
    for argument in arguments:
        if errors and typing.get_origin(argument) is Literal and not isinstance(value, str):
            continue  # a number or a list is no misspelt word
        try:
            return _bind_value(argument, value, path)
        except UserError as error:
            is_list_error = (
                isinstance(value, (list, tuple)) and typing.get_origin(argument) is tuple
            )
            errors.insert(0 if is_list_error else len(errors), str(error))
    expected = [_EXPECTATION.fullmatch(error.removeprefix(path)) for error in errors]
    if len(errors) > 1 and all(expected):
        phrases = dict.fromkeys(match[1] for match in expected if match is not None)
        raise UserError(
            f"{path} must be {' or '.join(phrases)}, got {value!r}"
            f"{_suggest_value(phrases, value, path)}"
        )
    raise UserError(errors[0])


UNITS = {"min": "minutes", "gb": "GB", "seconds": "seconds", "s": "seconds"}
"""Last part of a key's name -> the unit of its number."""


def _suggest_value(phrases: Iterable[str], value: Any, path: str) -> str:
    """Return how to write a value of the wrong type, if that is clear; else ""."""
    unit = UNITS.get(path.rpartition("_")[2])
    if unit and isinstance(value, str) and any("number" in phrase for phrase in phrases):
        return f": write the number of {unit}"
    if "a list" in phrases and isinstance(value, str) and value:
        return f": write [{value}]"
    if "text" in phrases and isinstance(value, (int, float)):
        return f": in a YAML file, write '{str(value).lower()}' in quotes"
    return ""


def _bind_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        suggestion = _suggest_value(["a list"], value, path)
        raise UserError(f"{path} must be a list, got {value!r}{suggestion}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_bind_value(arguments[0], v, f"{path}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise UserError(f"{path} must have {len(arguments)} entries, got {len(value)}: {value!r}")
    return tuple(
        _bind_value(a, v, f"{path}[{i}]") for i, (a, v) in enumerate(zip(arguments, value))
    )


def _bind_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is type(None):
        if value is None:
            return None
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return _require_finite(value, path)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    name = names.get(hint, "null")
    raise UserError(f"{path} must be {name}, got {value!r}{_suggest_value([name], value, path)}")


def _bind_any(value: Any, path: str) -> Any:
    """Return a value of any type, which must be representable in JSON: without NaN."""
    if isinstance(value, Mapping):
        return {str(k): _bind_any(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bind_any(v, f"{path}[{i}]") for i, v in enumerate(value)]
    return _require_finite(value, path) if isinstance(value, float) else value


def _require_finite(value: float, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isfinite(number):
        return number
    raise UserError(f"{path} must be a finite number, got {str(value)[:40]}")


def _check_range(value: Any, bounds: Mapping[str, Any], path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if "low" in bounds and value < bounds["low"]:
        raise UserError(f"{path} must be at least {bounds['low']}, got {value}")
    if "above" in bounds and value <= bounds["above"]:
        raise UserError(f"{path} must be above {bounds['above']}, got {value}")
    if "high" in bounds and value > bounds["high"]:
        raise UserError(f"{path} must be at most {bounds['high']}, got {value}")
