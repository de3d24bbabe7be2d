"""Tables without contaminated items; their numbers are tested in results/test_contamination."""

from __future__ import annotations

from pathlib import Path

from tests.analysis.results.test_contamination import save
from tests.helpers import fake_published_sets
from tests.helpers.analyzed_sweeps import analyze_sweep, tables_by_name


def test_the_tables_say_what_is_unchecked(tmp_path: Path) -> None:
    tables = tables_by_name(analyze_sweep(*fake_published_sets.make(tmp_path, extra=save)))
    rows = [[cell.text for cell in row] for row in tables["contamination"].rows]
    dtd = next(row for row in rows if row[0] == "dtd")
    assert dtd[3] == "40 of 400 (10 %)"
    assert float(dtd[4].split()[0]) > float(dtd[5].split()[0]), "copies were all right"
    assert ["cifar10", "", "", "0 of 400 images", "", "", ""] in rows
    assert ["voc2007", "", "", "leakage unchecked", "", "", ""] in rows
    records = tables["contamination_effects"].records
    assert {r["num_items_without"] for r in records if r["dataset"] == "dtd"} <= {350, 360}
