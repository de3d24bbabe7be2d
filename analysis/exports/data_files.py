"""Export to CSV and Parquet: four tables, in which a cell is (arm, seed) and its run an id.

    runs      status, start, costs, host, commit, versions
    configs   one row per configuration key: its value as JSON
    scores    one row per score: value, unit, kind, chance, number of test samples
    curves    one row per logged step, one column per metric

Numbers are as they are stored: in full precision, and not in percent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.exports.source import Changes, ExportedCell, SweepSource, format_time
from uniclip.frames.records import describe_unit
from uniclip.io.atomic import atomic_write

KEY_COLUMNS = ("arm", "seed", "run")


def export_csv(source: SweepSource, folder: Path) -> Changes:
    """Write `<folder>/<table>.csv`."""
    yield from _write_tables(source, folder, ".csv", _to_csv_bytes)


def export_parquet(source: SweepSource, folder: Path) -> Changes:
    """Write `<folder>/<table>.parquet`."""
    yield from _write_tables(source, folder, ".parquet", _to_parquet_bytes)


def build_tables(cells: Iterable[ExportedCell]) -> dict[str, pd.DataFrame]:
    """Return the tables by name."""
    rows: dict[str, list[dict[str, Any]]] = {"runs": [], "configs": [], "scores": [], "curves": []}
    for cell in cells:
        key = {"arm": cell.arm, "seed": cell.seed, "run": cell.run_id}
        start = format_time(cell.started_at)
        rows["runs"].append({**key, "status": str(cell.status), "start": start, **cell.details})
        rows["configs"] += [{**key, **row} for row in _list_config_rows(cell)]
        rows["scores"] += [{**key, **row} for row in _list_score_rows(cell)]
        rows["curves"] += [
            {**key, "step": p.step, "time": format_time(p.time), **p.values} for p in cell.curve
        ]
    return {
        name: pd.DataFrame(table_rows, columns=None if table_rows else list(KEY_COLUMNS))
        for name, table_rows in rows.items()
    }


def _write_tables(
    source: SweepSource, folder: Path, suffix: str, encode: Callable[[pd.DataFrame], bytes]
) -> Changes:
    for name, frame in build_tables(source.iter_cells()).items():
        path, data = folder / f"{name}{suffix}", encode(frame)
        is_new = not path.exists()
        if is_new or path.read_bytes() != data:
            atomic_write(path, data)
            yield path.name, "new" if is_new else "changed"
        else:
            yield path.name, "unchanged"


def _to_parquet_bytes(frame: pd.DataFrame) -> bytes:
    data: bytes = frame.to_parquet(index=False)
    return data


def _to_csv_bytes(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _list_config_rows(cell: ExportedCell) -> Iterator[dict[str, Any]]:
    for name, value in cell.config.items():
        yield {"key": name, "value": json.dumps(value)}


def _list_score_rows(cell: ExportedCell) -> Iterator[dict[str, Any]]:
    for name, score in cell.scores.items():
        yield {
            "dataset": name[: -len(score.name) - 1] if name.endswith(score.name) else name,
            "score": score.name,
            "value": score.value,
            "unit": describe_unit(score.kind),
            "kind": score.kind,
            "chance": score.chance,
            "num_samples": score.num_samples,
        }
