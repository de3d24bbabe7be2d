"""The logged metrics of a sweep's cells as one data frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from uniclip.store import Cell
from uniclip.store.history import concatenate_columns


def build_history_frame(
    cells: Iterable[Cell], histories: Mapping[str, dict[str, list[Any]]]
) -> pd.DataFrame:
    """Return one row for each record of each cell: arm, seed, run, phase, step and the metrics.

    Args:
        cells: The cells, in the order of their rows.
        histories: Run id -> columns of its history (`RunFolder.read_history_columns`).
    """
    columns = concatenate_columns(
        ({"arm": c.arm, "seed": c.seed, "run": c.run_id}, histories[c.run_id])
        for c in cells
        if histories[c.run_id]["step"]
    )
    return pd.DataFrame(columns or {n: [] for n in ("arm", "seed", "run", "phase", "step")})
