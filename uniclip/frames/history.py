"""The logged metrics of a sweep's cells as one data frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from uniclip.store import Cell
from uniclip.store.history import Columns, concatenate_columns


def build_history_frame(cells: Iterable[Cell], histories: Mapping[str, Columns]) -> pd.DataFrame:
    """Return one row for each record of each cell: arm, seed, run, phase, step and the metrics.

    Args:
        cells: The cells, in the order of their rows.
        histories: Run id -> columns of its history (`RunFolder.read_history_columns`).
    """
    logged = [(cell, histories[cell.run_id]) for cell in cells if histories[cell.run_id]["step"]]
    if not logged:
        return pd.DataFrame({name: [] for name in ("arm", "seed", "run", "phase", "step")})
    lengths = [len(history["step"]) for _, history in logged]
    constants = {
        "arm": repeat_values([cell.arm for cell, _ in logged], lengths),
        "seed": repeat_values([cell.seed for cell, _ in logged], lengths),
        "run": repeat_values([cell.run_id for cell, _ in logged], lengths),
    }
    columns = {
        name: values if isinstance(values, list) else np.asarray(values)
        for name, values in concatenate_columns(history for _, history in logged).items()
    }
    return pd.DataFrame(constants | columns | constants)  # no record names another arm or run


def repeat_values(values: list[Any], repeats: int | list[int]) -> pd.api.extensions.ExtensionArray:
    """Return a column in which each value comes so many times.

    Its type is that of the values, which are looked at once each.
    """
    return pd.Series(values).array.repeat(repeats)
