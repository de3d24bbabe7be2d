"""The store's JSON files: typed records to bytes and back.

Records are decoded by msgspec. What it refuses is read once more by the standard library and
`uniclip.config.binding`, whose errors name the field: a file is accepted if and only if these two
accept it.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar, Union

import msgspec

from uniclip.config.binding import bind, get_field_types, to_builtins
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json

Record = TypeVar("Record")
KeyCheck = Callable[[Any], bool]


def to_json_bytes(value: Any) -> bytes:
    """Return a record or plain value as indented JSON, keys in their own order.

    Raises:
        ValueError: it contains NaN or an infinity.
    """
    return (json.dumps(to_builtins(value), indent=1, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Return the JSON value in the file at `path`.

    Raises:
        FileNotFoundError: there is no file.
        UserError: the file is not JSON.
    """
    return _decode_json(path.read_bytes(), path)


def read_record(cls: type[Record], path: Path | str) -> Record | None:
    """Return the record of dataclass `cls` at `path`, or None if there is no file.

    Raises:
        UserError: the file is not JSON, a field is missing, unknown or of another type.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except FileNotFoundError:
        return None
    return decode_record(cls, data, path)


def decode_record(cls: type[Record], data: bytes, path: Path | str) -> Record:
    """Return the record of dataclass `cls` encoded in `data`, which was read from `path`.

    Raises:
        UserError: as `read_record`.
    """
    try:
        values = msgspec.json.decode(data)
        record: Record = msgspec.convert(values, cls)
    except (msgspec.MsgspecError, RecursionError):
        pass
    else:
        check = _build_key_check(typing.cast(type, cls))
        if check is None or check(values):
            return record
    values = _decode_json(data, path)
    try:
        bound: Record = bind(cls, values)
    except UserError as error:
        raise _make_damaged_error(path, error) from None
    return bound


def _decode_json(data: bytes, path: Path | str) -> Any:
    try:
        return parse_json(data)
    except JSON_ERRORS as error:
        raise _make_damaged_error(path, error) from None


def _make_damaged_error(path: Path | str, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}); move it away and run again")


@cache
def _build_key_check(hint: Any) -> KeyCheck | None:
    """Return a function that is True for values of type `hint` without keys unknown to a record.

    msgspec skips such keys, at any depth. The function is applied to values that msgspec has
    converted to `hint`, so their shape is known to be right. None if the type holds no records.
    """
    if dataclasses.is_dataclass(hint):
        field_types = get_field_types(typing.cast(type, hint))
        nested = [(n, c) for n, t in field_types.items() if (c := _build_key_check(t)) is not None]
        return partial(_has_known_keys, frozenset(field_types), nested)
    item_checks = [c for h in typing.get_args(hint) if (c := _build_key_check(h)) is not None]
    if not item_checks:
        return None
    (check,) = item_checks
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        return lambda value: value is None or check(value)
    if origin is dict:
        return lambda values: all(map(check, values.values()))
    return lambda values: all(map(check, values))


def _has_known_keys(
    names: frozenset[str], nested: Sequence[tuple[str, KeyCheck]], values: Mapping[str, Any]
) -> bool:
    return names.issuperset(values) and all(
        check(values[name]) for name, check in nested if name in values
    )
