"""Table of runs: a link for each run that exists, and the status of the others."""

from __future__ import annotations

from pathlib import Path

from analysis.tables.runs import build_run_table
from analysis.tables.table import TABLE_FORMATS
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_adaptive_sweep,
    analyze_fake_sweep,
    format_all_tables,
    read_records,
)
from tests.helpers.fake_sweep import Truth


def test_links_and_statuses(tmp_path: Path) -> None:
    truth = Truth(missing=(("full", 2),), unscored=(("full", 1),))
    results = analyze_fake_sweep(tmp_path, truth)
    table = build_run_table(results.plan.arms, results.plan.seeds, results.sweep_data.cells)
    first_row = table.rows[0]
    assert first_row[0].anchor == "runs-full"
    runs = [fake_sweep.run_id("full", seed) for seed in (0, 1, 2)]
    texts = [runs[0], f"{runs[1]} (needs evaluation)", f"{runs[2]} (pending)"]
    assert [cell.text for cell in first_row[1:]] == texts
    links = [f"../../runs/{runs[0]}/", f"../../runs/{runs[1]}/", ""]
    assert [cell.link for cell in first_row[1:]] == links
    files = {runs[0]: [("log", f"{runs[0]}/attempts/1/log")]}
    linked = build_run_table(results.plan.arms, (0, 1, 2), results.sweep_data.cells, files)
    assert linked.rows[0][1].files == (("log", f"../../runs/{runs[0]}/attempts/1/log"),)
    assert linked.rows[0][2].files == ()
    for format_table in TABLE_FORMATS.values():
        assert format_table(linked) == format_table(table), "links are for the page only"
    statuses = [r["status"] for r in read_records(table) if r["arm"] == "full"]
    assert statuses == ["complete", "needs_evaluation", "pending"]


def test_arms_with_fewer_seeds_have_empty_cells(tmp_path: Path) -> None:
    results = analyze_adaptive_sweep(tmp_path)
    table = build_run_table(results.plan.arms, results.plan.seeds, results.sweep_data.cells)
    texts = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    runs = {arm: [fake_sweep.run_id(arm, s) for s in range(6)] for arm in ("full", "none")}
    assert texts["UniCLIP, all components"] == runs["full"]
    assert texts["no component"] == [*runs["none"][:4], "", ""]
    assert len(read_records(table)) == len(results.plan.cells)
    lines = format_all_tables(results)["runs.md"].splitlines()
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
