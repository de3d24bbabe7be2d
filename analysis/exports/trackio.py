"""Export to trackio: a project per sweep, a run per cell, in a folder of trackio's databases.

    TRACKIO_DIR=<folder> trackio show --project <sweep>

Every point has an id that follows from its content, and trackio ignores ids that it has. Points and
configuration of a run are one transaction; a run with points of other ids is deleted first.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.exports.source import Change, Changes, ExportedCell, SweepSource, format_time
from uniclip.errors import UserError
from uniclip.io.hashing import digest

DIGEST_KEY = "uniclip.digest"
MAX_POINTS = 10_000_000
"""Points of a run that are compared with those of the store."""


def export(source: SweepSource, folder: Path) -> Changes:
    """Write every cell to the database of the sweep in a folder.

    Raises:
        UserError: this process has used trackio with another folder.
    """
    storage = _open_storage(folder.resolve())
    project = source.plan.sweep_id
    for cell in source.iter_cells():
        yield cell.name, _export_cell(storage, project, cell)


def _open_storage(folder: Path) -> Any:
    """Return trackio's storage in a folder, which it takes from the environment when imported."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TRACKIO_DIR"] = str(folder)
    utils = importlib.import_module("trackio.utils")
    if Path(utils.TRACKIO_DIR).resolve() != folder:
        raise UserError(f"trackio already uses {utils.TRACKIO_DIR} here: export in a new process")
    return importlib.import_module("trackio.sqlite_storage").SQLiteStorage


def _export_cell(storage: Any, project: str, cell: ExportedCell) -> Change:
    run_id = digest([cell.sweep_id, cell.name], 32)
    config = storage.get_run_config(project, run_id=run_id) or {}
    if config.get(DIGEST_KEY) == cell.digest:
        return "unchanged"
    points = list(_list_points(cell))
    ids = [digest([run_id, *map(repr, point)], 32) for point in points]
    present_ids = _list_ids(storage, project, run_id)
    if not present_ids <= set(ids):
        storage.delete_run(project, cell.name, run_id=run_id)
    storage.bulk_log(
        project,
        cell.name,
        [values for _, _, values in points],
        steps=[step for step, _, _ in points],
        timestamps=[time for _, time, _ in points],
        log_ids=ids,
        run_id=run_id,
        config={
            **cell.config,
            "arm": cell.arm,
            "seed": cell.seed,
            "run": cell.run_id,
            "status": str(cell.status),
            DIGEST_KEY: cell.digest,
        },
    )
    return "changed" if present_ids else "new"


def _list_points(cell: ExportedCell) -> Iterator[tuple[int, str, dict[str, float]]]:
    """Yield step, time and values of each point; the scores are a point at the last step."""
    for point in cell.curve:
        yield point.step, format_time(point.time), point.values
    scores = {f"scores/{name}": value for name, value in cell.score_values.items()}
    if scores or not cell.curve:  # a run without points has no configuration either
        yield cell.last_step, format_time(cell.end_time), scores


def _list_ids(storage: Any, project: str, run_id: str) -> set[str]:
    """Return the ids of the points of a run."""
    if not storage.get_project_db_path(project).exists():
        return set()
    query = f"SELECT log_id FROM metrics WHERE run_id = '{run_id}'"  # 32 hex digits
    rows = storage.query_project(project, query, max_rows=MAX_POINTS)
    return {row["log_id"] for row in rows["rows"]}
