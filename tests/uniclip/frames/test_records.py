"""Records of runs in the form of frames: status and saved arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.frames.records import describe_unit, find_item_rows, read_status
from uniclip.store import RunStatus


def test_the_status_follows_from_the_files_of_a_run(tmp_path: Path) -> None:
    truth = Truth(seeds=(0,), diverged=(("clip", 0),), missing=(("none", 0), ("full-again", 0)))
    store, _ = fake_sweep.make(tmp_path, truth)
    fake_sweep.fail(store, fake_sweep.run_id("none", 0), seconds=2.0)

    def read(arm: str, *, is_evaluated: bool = True) -> RunStatus:
        run = store.get_run(fake_sweep.run_id(arm, 0))
        return read_status(run, run.read_outcome(), is_evaluated=is_evaluated)

    assert read("full") is RunStatus.COMPLETE
    assert read("full", is_evaluated=False) is RunStatus.NEEDS_EVALUATION
    assert read("clip") is RunStatus.DIVERGED
    assert read("none") is RunStatus.FAILED
    assert read("full-again") is RunStatus.PENDING
    fake_sweep.begin(store, fake_sweep.run_id("full-again", 0))
    assert read("full-again") is RunStatus.RUNNING


@pytest.mark.parametrize(
    ("score", "num_outcomes", "expected"),
    [
        ("retrieval.r1", 4, [0, 1, 2, 3]),
        ("retrieval.t2i.r1", 3, [0, 0, 2]),
        ("zeroshot.kind", 2, [1, 3]),
        ("zeroshot.kind[a]", 2, [1, 3]),
        ("zeroshot.other", 2, None),
    ],
)
def test_outcomes_belong_to_rows_of_the_test_split(
    score: str, num_outcomes: int, expected: list[int] | None
) -> None:
    arrays = {
        "ids": np.arange(4),
        "retrieval.t2i.image": np.array([0, 0, 2], np.int32),
        "labels.kind": np.array([-1, 0, -1, 1]),
    }
    rows = find_item_rows(score, num_outcomes, arrays)
    assert (None if rows is None else rows.tolist()) == expected


def test_units_are_those_of_the_stored_values() -> None:
    units = [describe_unit(kind) for kind in ("accuracy", "log_likelihood", "gap")]
    assert units == ["fraction", "nats", ""]
