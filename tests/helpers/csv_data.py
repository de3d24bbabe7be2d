"""Small CSV data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from uniclip.config import CsvData


def write_csv(
    folder: Path,
    rows: Iterable[Sequence[str]],
    header: Sequence[str] = ("picture", "caption", "kind"),
) -> None:
    """Write data.csv into `folder`."""
    with open(folder / "data.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def csv_config(folder: Path, **changes: Any) -> CsvData:
    """Return the data section of data.csv in `folder`."""
    values = {"path": str(folder / "data.csv"), "image_size": 16, "label_column": "kind"}
    return CsvData(**{**values, **changes})
