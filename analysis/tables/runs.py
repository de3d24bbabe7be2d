"""Table of runs: the run folder of each cell, and its status."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.formatting import MUTED
from analysis.tables.table import Table, TableCell, make_row
from uniclip.store import Arm, RunStatus


def build_run_table(arms: Sequence[Arm], seeds: Sequence[int], cells: pd.DataFrame) -> Table:
    """Return arms by seeds.

    Args:
        arms: arms of the plan.
        seeds: seeds of the plan.
        cells: one row per cell: arm, seed, run, status.
    """
    run_by_cell = {
        (arm, seed): (run, RunStatus(status))
        for arm, seed, run, status in zip(*(cells[c] for c in ("arm", "seed", "run", "status")))
    }
    rows = [
        make_row(
            TableCell(text=arm.label, anchor=f"runs-{arm.name}"),
            *(
                _build_run_cell(*run_by_cell[arm.name, s])
                for s in seeds
                if (arm.name, s) in run_by_cell
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


def _build_run_cell(run: str, status: RunStatus) -> TableCell:
    link = f"../../runs/{run}/"
    if status is RunStatus.COMPLETE:
        return TableCell(text=run, link=link)
    status_text = status.value.replace("_", " ")
    return TableCell(
        text=f"{run} ({status_text})",
        tone=MUTED,
        link="" if status is RunStatus.PENDING else link,
    )
