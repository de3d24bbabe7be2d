"""Collected data: every cell has a row and a status, and damaged files are named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.results.results import Results
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import RunStatus, Store


def test_incomplete_cells_have_a_row_with_their_status(tmp_path: Path) -> None:
    truth = Truth(
        seeds=(0, 1, 2, 3),
        diverged=(("clip", 1),),
        missing=(("full", 3), ("clip", 2), ("clip", 3), ("none", 1)),
        unscored=(("none", 0),),
    )
    store, sweep = fake_sweep.make(tmp_path, truth)
    fake_sweep.begin(store, fake_sweep.run_id("clip", 2))
    fake_sweep.fail(store, fake_sweep.run_id("clip", 3), seconds=1.0)
    interrupted = fake_sweep.begin(store, fake_sweep.run_id("none", 1))
    interrupted.write_end("interrupted")
    frame = collect_sweep_data(store, sweep).frame.set_index(["arm", "seed", "score"])
    expected = {
        ("clip", 1): RunStatus.DIVERGED,
        ("full", 3): RunStatus.PENDING,
        ("clip", 2): RunStatus.RUNNING,
        ("clip", 3): RunStatus.FAILED,
        ("none", 1): RunStatus.INTERRUPTED,
        ("none", 0): RunStatus.NEEDS_EVALUATION,
        ("full", 0): RunStatus.COMPLETE,
    }
    statuses = {cell: frame["status"][*cell, "retrieval.r1"] for cell in expected}
    assert statuses == expected
    values = {cell: frame["value"][*cell, "retrieval.r1"] for cell in expected}
    assert [cell for cell, value in values.items() if value == value] == [("full", 0)]


def test_observations_of_a_score(complete_results: Results) -> None:
    data = complete_results.sweep_data
    observations = data.get_observations("openmoji", "retrieval.r1")
    assert observations.seeds == (0, 1, 2)
    assert observations.chance == pytest.approx(1 / 600)
    assert observations.resolution == pytest.approx(1 / 600)
    assert all(len(values) == 3 for values in observations.values.values())
    assert data.list_score_keys()[0] == ("openmoji", "retrieval.r1")
    assert data.get_score_kind("openmoji", "retrieval.r1") == "recall"
    assert data.get_num_samples("openmoji", "retrieval.r1") == 600
    assert data.is_report_only("openmoji", "zeroshot.gender")
    assert not data.is_report_only("openmoji", "retrieval.r1")


def test_history_and_costs_of_every_cell(complete_results: Results) -> None:
    data = complete_results.sweep_data
    assert set(data.history["phase"]) == {"train", "validation", "knockout"}
    knockout = data.history[data.history["phase"] == "knockout"]
    assert len(knockout) == len(data.cells) == len(data.costs) == 33
    assert set(knockout["knockout_effect.awareness"]) == {0.42}
    assert set(data.costs["num_attempts"]) == {1}
    assert set(data.costs["steps"]) == {fake_sweep.NUM_STEPS}
    clip = data.costs[data.costs["arm"] == "clip"]
    assert set(clip["image_forward_passes_per_sample"]) == {1.0}


def test_a_damaged_scores_file_is_named(tmp_path: Path) -> None:
    store, sweep = fake_sweep.make(tmp_path)
    run = store.get_run(fake_sweep.run_id("full", 1))
    path = run.scores_path("openmoji", fake_sweep.EVALUATION)
    atomic_write(path, path.read_bytes()[:-20])
    with pytest.raises(UserError, match=re.escape(str(path))):
        collect_sweep_data(store, sweep)


def test_an_unknown_sweep_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no sweep nothing"):
        collect_sweep_data(Store(tmp_path), "nothing")
