"""The metrics of runs by column."""

from __future__ import annotations

import math

from uniclip.store.history import build_columns, concatenate_columns, flatten_record, select_phase

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
