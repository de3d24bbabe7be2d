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
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union

import msgspec

from uniclip.config.binding import bind, get_field_types, to_builtins
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS

Record = TypeVar("Record")


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
        if _has_known_keys_only(cls, values):
            return record
    try:
        bound: Record = bind(cls, _decode_json(data, path))
    except UserError as error:
        if str(path) in str(error):
            raise
        raise _make_damaged_error(path, error) from None
    return bound


def _decode_json(data: bytes, path: Path | str) -> Any:
    try:
        return json.loads(data.decode("utf-8"))
    except JSON_ERRORS as error:
        raise _make_damaged_error(path, error) from None


def _make_damaged_error(path: Path | str, error: Exception) -> UserError:
    return UserError(f"{path} is damaged ({error}); move it away and run again")


def _has_known_keys_only(hint: Any, value: Any) -> bool:
    """Whether no record in `value`, at any depth, has a key that its dataclass lacks.

    msgspec passes over such keys. `value` was converted to the type `hint` before, so its shape is
    known to be right.
    """
    if value is None:
        return True
    if dataclasses.is_dataclass(hint):
        field_types = get_field_types(typing.cast(type, hint))
        return value.keys() <= field_types.keys() and all(
            _has_known_keys_only(field_types[name], value[name])
            for name in _list_record_fields(typing.cast(type, hint))
            if name in value
        )
    record_hints = [h for h in typing.get_args(hint) if _holds_records(h)]
    if typing.get_origin(hint) in (Union, types.UnionType):
        return all(_has_known_keys_only(h, value) for h in record_hints)
    items = value.values() if isinstance(value, dict) else value
    return all(_has_known_keys_only(h, item) for h in record_hints for item in items)


@cache
def _list_record_fields(cls: type) -> tuple[str, ...]:
    """Return the fields of `cls` that hold records, directly or in a tuple or dictionary."""
    return tuple(name for name, hint in get_field_types(cls).items() if _holds_records(hint))


def _holds_records(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or any(map(_holds_records, typing.get_args(hint)))
