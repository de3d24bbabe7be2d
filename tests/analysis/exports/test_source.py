"""What trackers are given of a cell is what the files of its run and the data frames hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import uniclip
from analysis.exports.source import format_time, make_file_name, select_values
from tests.helpers import exported_sweeps, fake_sweep
from tests.helpers.exported_sweeps import TRUTH, format_value
from uniclip.store import RunStatus


def test_cells_have_the_numbers_of_the_data_frames(tmp_path: Path) -> None:
    source = exported_sweeps.make_source(tmp_path)
    store = uniclip.open_store(tmp_path)
    metrics, scores = store.metrics(source.plan.sweep_id), store.scores(source.plan.sweep_id)
    cells = {cell.arm: cell for cell in source.iter_cells()}
    assert set(cells) == set(exported_sweeps.CELLS)
    for arm, cell in cells.items():
        for phase, step in ((p, s) for p, s in metrics.loc[arm, 0].index):
            values = next(point.values for point in cell.curve if point.step == step)
            for name, value in metrics.loc[arm, 0, phase, step].items():
                if f"{phase}/{name}" in values:
                    assert format_value(values[f"{phase}/{name}"]) == format_value(value)
        rows = scores[scores["run"] == cell.run_id]
        assert cell.score_values == {
            f"{dataset}/{score}": value for (dataset, score, _, _), value in rows["value"].items()
        }
    assert cells["clip"].status == RunStatus.DIVERGED
    assert cells["clip"].score_values == {}
    assert cells["full"].status == RunStatus.COMPLETE
    assert "train/loss_terms.contrastive" in cells["full"].curve[0].values
    assert not any("best" in name for p in cells["full"].curve for name in p.values)


def test_cells_that_were_not_started_are_left_out(tmp_path: Path) -> None:
    truth = dataclasses.replace(TRUTH, missing=(("full", 0),))
    source = exported_sweeps.open_source(*fake_sweep.make(tmp_path, truth))
    assert [cell.arm for cell in source.iter_cells()] == ["none", "clip"]


def test_the_digest_changes_with_every_number(tmp_path: Path) -> None:
    source = exported_sweeps.make_source(tmp_path)
    digests = {cell.name: cell.digest for cell in source.iter_cells()}
    assert digests == {cell.name: cell.digest for cell in source.iter_cells()}
    exported_sweeps.train_on(source, 2000)
    changed = {c.name for c in source.iter_cells() if digests[c.name] != c.digest}
    assert changed == {"full/0"}


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("full", "full"),
        ("a/b", "a%2Fb"),
        ("..", "%2E."),
        ("lr=1e-3", "lr=1e-3"),
        ("a%2Fb", "a%252Fb"),
    ],
)
def test_names_of_files_are_safe_and_differ(name: str, file_name: str) -> None:
    assert make_file_name(name) == file_name


def test_values_become_scalars() -> None:
    values = {"a": None, "b": [1, 2], "c": True, "d": 0.5, "e": "x"}
    assert select_values(values) == {"a": "null", "b": "[1, 2]", "c": True, "d": 0.5, "e": "x"}
    assert format_time(0.0) == "1970-01-01T00:00:00+00:00"
