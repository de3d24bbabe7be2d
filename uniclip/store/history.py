"""The logged metrics of a run, by column: records of one phase lack the metrics of the others.

A column is a list, or an array of float64 where all of its values are floats: these need an eighth
of the time and memory of as many objects.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

Column: TypeAlias = "list[Any] | array[float]"
Columns: TypeAlias = "Mapping[str, Column]"
EncodedColumns = dict[str, list[Any] | bytes]
"""Columns as types that msgpack has."""
FLOAT64 = "d"
"""Type code of an array of float64."""

PHASES = ("train", "validation", "knockout", "cost")
"""Kinds of record that training writes (`uniclip.training.metrics_log`)."""
DEFAULTS = {"phase": "train", "step": 0}
"""Values of records without these names."""


def flatten_record(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with dotted names: {"loss_terms": {"ii": 1}} gives {"loss_terms.ii": 1}."""
    if dict not in map(type, record.values()):
        return record
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{k}": v for k, v in value.items()}
        else:
            flat[name] = value
    return flat


def build_columns(records: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return name -> values of the flattened records, which are NaN where a record has none.

    Every column has one value for each record. `DEFAULTS` are the first columns.
    """
    columns: dict[str, list[Any]] = {name: [] for name in DEFAULTS}
    for row, record in enumerate(records):
        for name, value in (DEFAULTS | flatten_record(record)).items():
            values = columns.setdefault(name, [])
            values += [math.nan] * (row - len(values))
            values.append(value)
    num_rows = len(columns["step"])
    for values in columns.values():
        values += [math.nan] * (num_rows - len(values))
    return columns


def encode_columns(columns: Mapping[str, list[Any]]) -> EncodedColumns:
    """Return name -> the column, or the bytes of its float64 where all of its values are floats."""
    return {
        name: array(FLOAT64, values).tobytes() if {*map(type, values)} == {float} else values
        for name, values in columns.items()
    }


def decode_columns(encoded: EncodedColumns) -> Columns:
    """Return the columns that were encoded.

    Raises:
        ValueError: The bytes are not those of float64.
    """
    return {
        name: array(FLOAT64, values) if isinstance(values, bytes) else values
        for name, values in encoded.items()
    }


def select_phase(columns: Columns, phase: str) -> Columns:
    """Return the columns of the records of one phase, without columns that they lack."""
    rows = [i for i, value in enumerate(columns["phase"]) if value == phase]
    selected = {name: [values[i] for i in rows] for name, values in columns.items()}
    return {n: v for n, v in selected.items() if n in DEFAULTS or not all(map(_is_nan, v))}


def concatenate_columns(parts: Iterable[Columns]) -> Columns:
    """Return the columns of several runs as one, NaN where a run lacks a column."""
    columns: dict[str, Column] = {}
    num_rows = 0
    for part in parts:
        length = len(part["step"])
        for name, values in part.items():
            column = columns[name] if name in columns else _repeat_nan(values, num_rows)
            columns[name] = _extend(column, values)
        num_rows += length
        for name in columns.keys() - part.keys():
            columns[name] = _extend(columns[name], _repeat_nan(columns[name], length))
    return columns


def _extend(column: Column, values: Column) -> Column:
    """Append values to a column, and return it; an array becomes a list if they are none."""
    if isinstance(column, array):
        if isinstance(values, array):
            column += values
            return column
        column = column.tolist()
    column.extend(values)
    return column


def _repeat_nan(column: Column, number: int) -> Column:
    """Return so many values NaN, as a column of this kind."""
    return [math.nan] * number if isinstance(column, list) else array(FLOAT64, [math.nan]) * number


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
