"""The metrics of runs by column."""

from __future__ import annotations

import math
from array import array

import pytest

from uniclip.store.history import (
    build_columns,
    concatenate_columns,
    decode_columns,
    encode_columns,
    flatten_record,
    select_phase,
)

NAN = math.nan


def test_a_record_is_flattened_by_dots() -> None:
    record = {"step": 3, "loss_terms": {"ii": 1.0, "it": 2.0}}
    assert flatten_record(record) == {"step": 3, "loss_terms.ii": 1.0, "loss_terms.it": 2.0}


def test_columns_have_a_value_for_each_record() -> None:
    records = [{"step": 1, "loss": 2.0}, {"step": 1, "phase": "validation", "score": {"r1": 0.5}}]
    assert repr(build_columns(records)) == repr(
        {
            "phase": ["train", "validation"],
            "step": [1, 1],
            "loss": [2.0, NAN],
            "score.r1": [NAN, 0.5],
        }
    )
    assert build_columns([]) == {"phase": [], "step": []}


def test_a_phase_keeps_its_columns_only() -> None:
    records = [{"step": 1, "loss": 2.0}, {"step": 1, "phase": "validation", "score": 0.5}]
    selected = select_phase(build_columns(records), "validation")
    assert selected == {"phase": ["validation"], "step": [1], "score": [0.5]}


def test_columns_that_a_run_lacks_are_filled() -> None:
    parts = [
        build_columns([{"step": 1, "loss": 2.0}]),
        build_columns([{"step": 1, "scale": 7}, {"step": 2, "scale": 8}]),
    ]
    assert repr(concatenate_columns(parts)) == repr(
        {
            "phase": ["train"] * 3,
            "step": [1, 1, 2],
            "loss": [2.0, NAN, NAN],
            "scale": [NAN, 7, 8],
        }
    )


def test_floats_become_arrays_and_nothing_else_does() -> None:
    columns = {"loss": [-0.0, NAN, math.inf], "step": [1, 2, 3], "images": [1, NAN, 2.0], "new": []}
    encoded = encode_columns(columns)
    assert isinstance(encoded["loss"], bytes)
    assert repr(decode_columns(encoded)) == repr(columns | {"loss": array("d", columns["loss"])})
    with pytest.raises(ValueError, match="item size"):
        decode_columns({"loss": b"123"})


def test_lists_and_arrays_are_concatenated_as_lists_are() -> None:
    columns = [
        build_columns([{"step": 1, "loss": 2.0, "gap": 0.5}, {"step": 2, "loss": NAN}]),
        build_columns([{"step": 1, "loss": 3}, {"step": 2, "loss": True, "scale": 8.5}]),
        build_columns([{"step": 1, "scale": 9.5}]),
        build_columns([{"step": 1, "loss": 1.0, "scale": 2}]),
    ]
    mixed = concatenate_columns(decode_columns(encode_columns(part)) for part in columns)
    expected = concatenate_columns(columns)
    assert repr({name: [*values] for name, values in mixed.items()}) == repr(expected)
    assert isinstance(mixed["gap"], array)
    assert isinstance(mixed["loss"], list)
    assert isinstance(columns[0]["loss"], list), "the parts stay as they are"
    assert len(columns[0]["loss"]) == 2
