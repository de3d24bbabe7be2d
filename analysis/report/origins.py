"""`origins.csv`: from which store or bundle each run of a merged sweep comes.

It stands beside `tables/`, not in it: tables of equal results are equal, whoever trained them.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from uniclip.io.atomic import read_jsonl
from uniclip.store import Plan, Store

FILE_NAME = "origins.csv"
COLUMNS = ("arm", "seed", "run", "origins", "agreement", "largest_difference")
THIS_STORE = "this store"


def write_origins(store: Store, plan: Plan, folder: Path) -> None:
    """Write the origins of the cells of a plan, if runs were merged into its store."""
    records: dict[str, list[dict[str, object]]] = {}
    for record in read_jsonl(store.origins_path):
        records.setdefault(str(record.get("run")), []).append(record)
    if not records:
        return
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for cell in plan.cells:
        cell_records = records.get(cell.run_id, [])
        is_own = not any(record.get("copied") for record in cell_records)
        names = [THIS_STORE] * is_own + [str(record.get("origin")) for record in cell_records]
        compared = [record for record in cell_records if record.get("agreement")]
        agreements = dict.fromkeys(str(record["agreement"]) for record in compared)
        difference = max((_read_number(r.get("largest_difference")) for r in compared), default="")
        row = (cell.arm, cell.seed, cell.run_id)
        writer.writerow([*row, "; ".join(names), "; ".join(agreements), difference])
    (folder / FILE_NAME).write_text(stream.getvalue(), encoding="utf-8")


def _read_number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
