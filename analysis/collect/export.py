"""Export of data frames for other tools: CSV and Parquet."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd


def format_csv(frame: pd.DataFrame) -> str:
    """Return the frame as CSV, with ten significant digits: equal numbers give equal bytes."""
    stream = io.StringIO()
    frame.to_csv(stream, index=False, float_format="%.10g", lineterminator="\n")
    return stream.getvalue()


def write_frame(frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write `<name>.csv` and `<name>.parquet`; return the paths."""
    paths = [folder / f"{name}.csv", folder / f"{name}.parquet"]
    paths[0].write_text(format_csv(frame), encoding="utf-8")
    frame.to_parquet(paths[1], index=False)
    return paths
