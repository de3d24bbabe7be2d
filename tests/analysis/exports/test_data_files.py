"""CSV and Parquet: read back by pandas, equal to the store; written only if something changed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.helpers import exported_sweeps
from tests.helpers.exported_sweeps import count_changes, format_value

READERS = {"csv": pd.read_csv, "parquet": pd.read_parquet}


@pytest.mark.parametrize("target", READERS)
def test_pandas_reads_the_numbers_of_the_store(tmp_path: Path, target: str) -> None:
    source, folder = exported_sweeps.make_source(tmp_path / "store"), tmp_path / "to"
    assert count_changes(target, source, folder) == {"new": 4}
    options = {"float_precision": "round_trip"} if target == "csv" else {}
    tables = {p.stem: READERS[target](p, **options) for p in folder.iterdir()}
    cells = {cell.name: cell for cell in source.iter_cells()}
    names = tables["curves"]["arm"] + "/" + tables["curves"]["seed"].astype(str)
    assert len(names) == sum(len(cell.curve) for cell in cells.values())
    for name, (_, row) in zip(names, tables["curves"].iterrows()):
        (point,) = [p for p in cells[name].curve if p.step == row["step"]]
        for metric, value in point.values.items():
            assert format_value(row[metric]) == format_value(value)
    scores = tables["scores"].set_index(["arm", "dataset", "score"])["value"]
    for cell in cells.values():
        for score in cell.scores.values():
            assert scores[cell.arm, "openmoji", score.name] == score.value
    assert len(scores) == sum(len(cell.scores) for cell in cells.values())
    assert list(tables["runs"]["status"]) == [str(c.status) for c in cells.values()]
    assert set(tables["configs"]["key"]) == {"seed"}


@pytest.mark.parametrize("target", READERS)
def test_files_are_written_only_if_they_change(tmp_path: Path, target: str) -> None:
    source, folder = exported_sweeps.make_source(tmp_path / "store"), tmp_path / "to"
    count_changes(target, source, folder)
    before = {p: p.stat().st_ino for p in folder.iterdir()}
    assert count_changes(target, source, folder) == {"unchanged": 4}
    assert {p: p.stat().st_ino for p in folder.iterdir()} == before
    exported_sweeps.train_on(source, 2000)
    assert count_changes(target, source, folder) == {"unchanged": 3, "changed": 1}
