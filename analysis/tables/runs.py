"""Table of runs: the run folder of each cell, and its status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.formatting import MUTED
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Arm, RunStatus


def build_run_table(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    cells: pd.DataFrame,
    files: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> Table:
    """Return arms by seeds; a cell that is not in the plan is empty.

    Args:
        arms: arms of the plan.
        seeds: seeds of the plan.
        cells: one row per cell: arm, seed, run, status.
        files: run id -> (label, path in the folder of runs) of its files, which the page links.
    """
    run_by_cell = {
        (arm, seed): (run, RunStatus(status))
        for arm, seed, run, status in zip(*(cells[c] for c in ("arm", "seed", "run", "status")))
    }
    rows = [
        make_row(
            TableCell(text=arm.label, anchor=f"runs-{arm.name}"),
            *(
                _build_run_cell(
                    *run_by_cell[arm.name, s], (files or {}).get(run_by_cell[arm.name, s][0], ())
                )
                if (arm.name, s) in run_by_cell
                else TableCell(text="")
                for s in seeds
            ),
        )
        for arm in arms
    ]
    records = tuple(
        {"arm": arm, "seed": seed, "run": run, "status": status.value}
        for (arm, seed), (run, status) in run_by_cell.items()
    )
    return Table(
        name="runs",
        title="Runs (folders in runs/ of the store)",
        num_text_columns=len(seeds) + 1,
        headings=("arm", *(f"seed {s}" for s in seeds)),
        rows=tuple(rows),
        records=records,
    )


def _build_run_cell(
    run: str, status: RunStatus, files: Sequence[tuple[str, str]] = ()
) -> TableCell:
    link = f"../../runs/{run}/"
    file_links = tuple((label, f"../../runs/{path}") for label, path in files)
    if status is RunStatus.COMPLETE:
        return TableCell(text=run, link=link, files=file_links)
    status_text = status.value.replace("_", " ")
    return TableCell(
        text=f"{run} ({status_text})",
        tone=MUTED,
        link="" if status is RunStatus.PENDING else link,
        files=file_links,
    )
