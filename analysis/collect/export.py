"""The frame for other tools: CSV always, parquet where pyarrow is installed."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import pandas as pd


def csv_text(frame: pd.DataFrame) -> str:
    """The frame as CSV, the same bytes for the same numbers (ten significant digits)."""
    stream = io.StringIO()
    frame.to_csv(stream, index=False, float_format="%.10g", lineterminator="\n")
    return stream.getvalue()


def write(frame: pd.DataFrame, folder: Path, name: str) -> list[Path]:
    """Write `<name>.csv`, and `<name>.parquet` if pyarrow is there; the files written."""
    written = [folder / f"{name}.csv"]
    written[0].write_text(csv_text(frame), encoding="utf-8")
    if find_spec("pyarrow") is not None:
        written.append(folder / f"{name}.parquet")
        frame.to_parquet(written[1], index=False)
    return written
