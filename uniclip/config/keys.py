"""The keys of configuration classes: type, default, range and meaning, from fields and docstrings.

This is the one source of `list keys`, of the generated reference, and of which keys hold text.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass
from functools import cache
from typing import Any, Literal, Union

from uniclip.config.binding import TAGGED_UNIONS, get_field_types
from uniclip.config.overrides import ValueForm

SHELL_KEYS = frozenset({"launcher.setup", "launcher.python"})
"""Keys whose text a shell reads when a job starts."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a configuration class."""

    name: str
    """The dotted key."""
    type: str
    """Its type as in Python, aliases replaced by their values."""
    values: str
    """What it may be, in words: "number", "fp32 | bf16", "list of texts"."""
    default: str
    """Its default as a user types it; "required" if there is none."""
    range: str
    """Its range, such as "> 0"; "" if it has none."""
    meaning: str
    """The docstring of the field, on one line."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """The keys of one class, without those of nested classes."""

    cls: type
    prefix: str
    """What the keys begin with, such as "train."; "" for the top level."""
    keys: tuple[Key, ...]

    @property
    def summary(self) -> str:
        """The first paragraph of the class's docstring, on one line."""
        return " ".join((self.cls.__doc__ or "").split("\n\n")[0].split())


def collect_sections(cls: type, prefix: str = "") -> Iterator[Section]:
    """Yield the sections of a class: its own keys, then those of nested classes.

    Fields whose class is selected by name (`TAGGED_UNIONS`) are left out, as is a `name` by which a
    class is selected.
    """
    meanings, field_types = read_field_docs(cls), get_field_types(cls)
    keys: list[Key] = []
    nested: list[tuple[type, str]] = []
    for field in dataclasses.fields(cls):
        if (cls, field.name) in TAGGED_UNIONS:
            continue
        factory = field.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            nested.append((factory, f"{prefix}{field.name}."))
            continue
        kind = format_type(field, cls)
        if field.name == "name" and kind.startswith("Literal"):
            continue
        keys.append(
            Key(
                name=f"{prefix}{field.name}",
                type=kind,
                values=describe_values(field_types[field.name]),
                default=format_default(field),
                range=format_range(field),
                meaning=meanings.get(field.name, ""),
            )
        )
    yield Section(cls=cls, prefix=prefix, keys=tuple(keys))
    for nested_cls, nested_prefix in nested:
        yield from collect_sections(nested_cls, nested_prefix)


def collect_value_forms(roots: Iterable[tuple[type, str]]) -> dict[str, frozenset[ValueForm]]:
    """Return every key of classes -> the forms that it holds (`overrides.ValueForms`).

    Args:
        roots: (class, prefix) pairs. A key of several classes has the forms that it has in each.
    """
    forms: dict[str, frozenset[ValueForm]] = {}
    for cls, prefix in roots:
        for key, key_forms in _collect_class_forms(cls, prefix).items():
            forms[key] = forms.get(key, key_forms) & key_forms
    return forms


@cache
def _collect_class_forms(cls: type, prefix: str) -> Mapping[str, frozenset[ValueForm]]:
    field_types = get_field_types(cls)
    forms: dict[str, frozenset[ValueForm]] = {}
    for field in dataclasses.fields(cls):
        key, hint = f"{prefix}{field.name}", field_types[field.name]
        if dataclasses.is_dataclass(hint):
            forms |= _collect_class_forms(typing.cast(type, hint), f"{key}.")
        elif (cls, field.name) not in TAGGED_UNIONS:
            forms[key] = _find_forms(hint) | ({"shell"} if key in SHELL_KEYS else frozenset())
    return forms


def _find_forms(hint: Any) -> frozenset[ValueForm]:
    members = typing.get_args(hint) if _is_union(hint) else (hint,)
    forms: set[ValueForm] = set()
    for member in members:
        if member is str:
            forms.add("text")
        elif typing.get_origin(member) is tuple:
            forms.add("texts" if typing.get_args(member)[0] is str else "list")
    return frozenset(forms)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


# ---- one field -----------------------------------------------------------------------------------


@cache
def read_field_docs(cls: type) -> Mapping[str, str]:
    """Return field -> the string below it, on one line; empty if there is no source file."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _read_own_field_docs(base)
    return docs


def _read_own_field_docs(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(inspect.cleandoc(inspect.getsource(cls)))
    except (OSError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs = {}
    for field, text in zip(body, body[1:]):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def describe_values(hint: Any) -> str:
    """Return in words what a value of a type may be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if _is_union(hint):
        return " or ".join(map(describe_values, arguments))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"list of {_VALUE_WORDS.get(arguments[0], describe_values(arguments[0]))}"
        return f"list of {len(arguments)} {_VALUE_WORDS.get(arguments[0], 'values')}"
    if origin is dict or hint is dict:
        return "mapping"
    return _VALUE_WORDS.get(hint, "value").removesuffix("s")


_VALUE_WORDS: dict[Any, str] = {
    int: "whole numbers",
    float: "numbers",
    str: "texts",
    bool: "true or false",
    type(None): "null",
}


def format_default(field: Field[Any]) -> str:
    """Return the default of a field as a user types it."""
    if field.metadata.get("follows_model"):
        return format_value(None)
    if field.default is not MISSING:
        return format_value(field.default)
    if field.default_factory is not MISSING:
        return format_value(field.default_factory())
    return "required"


def format_value(value: Any) -> str:
    """Return a value of a configuration as a user types it."""
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def format_type(field: Field[Any], cls: type) -> str:
    """Return the type of a field, with names of unions and literals replaced by their values."""
    kind = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    namespace = vars(sys.modules[cls.__module__])

    def expand(match: re.Match[str]) -> str:
        alias = namespace.get(match[0])
        is_alias = typing.get_origin(alias) in (Literal, Union)
        return str(alias).replace("typing.", "") if is_alias else match[0]

    return re.sub(r"\b[A-Z]\w+\b", expand, kind)


def format_range(field: Field[Any]) -> str:
    """Return the allowed range of a numeric field, or "" if there is none."""
    parts = []
    if "above" in field.metadata:
        parts.append(f"> {field.metadata['above']:g}")
    if "low" in field.metadata:
        parts.append(f"\N{GREATER-THAN OR EQUAL TO} {field.metadata['low']:g}")
    if "high" in field.metadata:
        parts.append(f"\N{LESS-THAN OR EQUAL TO} {field.metadata['high']:g}")
    return ", ".join(parts)
