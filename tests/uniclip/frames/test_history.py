"""The data frame of metrics, against one that pandas builds of the records."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.frames.history import build_history_frame
from uniclip.io.atomic import append_jsonl
from uniclip.store.history import flatten_record


def test_the_frame_is_that_of_the_records(tmp_path: Path) -> None:
    truth = Truth(seeds=(0, 1), diverged=(("clip", 0),), missing=(("none", 0),))
    store, sweep_id = fake_sweep.make(tmp_path, truth)
    attempt = store.get_run(fake_sweep.run_id("full", 1)).get_attempt(1)
    append_jsonl(attempt.metrics_path, {"step": 205, "loss": float("nan"), "note": None})
    append_jsonl(attempt.metrics_path, {"step": 206, "text": "why", "is_last": True, "count": 3})
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    records = [
        {"arm": c.arm, "seed": c.seed, "run": c.run_id, "phase": "train", "step": 0}
        | flatten_record(record)
        for c in plan.cells
        for record in store.get_run(c.run_id).read_history()
    ]
    histories = {c.run_id: store.get_run(c.run_id).read_history_columns() for c in plan.cells}
    frame = build_history_frame(plan.cells, histories)
    assert len(frame) > 400
    pd.testing.assert_frame_equal(frame, pd.DataFrame(records))


def test_cells_without_records_have_no_rows(tmp_path: Path) -> None:
    truth = Truth(seeds=(0,), missing=tuple((arm.name, 0) for arm in fake_sweep.arms()))
    store, sweep_id = fake_sweep.make(tmp_path, truth)
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    histories = {c.run_id: store.get_run(c.run_id).read_history_columns() for c in plan.cells}
    frame = build_history_frame(plan.cells, histories)
    assert list(frame) == ["arm", "seed", "run", "phase", "step"]
    assert frame.empty
