"""Exported frames: stable bytes, CSV and Parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.collect.export import format_csv, write_frame


def test_numbers_have_ten_significant_digits() -> None:
    frame = pd.DataFrame({"arm": ["a", "b"], "value": [1 / 3, float("nan")], "seed": [0, 1]})
    assert format_csv(frame) == "arm,value,seed\na,0.3333333333,0\nb,,1\n"


def test_the_written_files_are_returned(tmp_path: Path) -> None:
    paths = write_frame(pd.DataFrame({"x": [1.5]}), tmp_path, "frame")
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert (tmp_path / "frame.csv").read_text() == "x\n1.5\n"
    assert pd.read_parquet(tmp_path / "frame.parquet")["x"].tolist() == [1.5]
