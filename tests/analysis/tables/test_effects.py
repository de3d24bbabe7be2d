"""Tables of effects: verdicts on the primary score alone, the rest is exploratory."""

from __future__ import annotations

from pathlib import Path

from analysis.report import summary
from analysis.results.results import Results
from analysis.tables.effects import build_effect_table, build_other_effects_table
from analysis.tables.table import to_markdown
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_fake_sweep, read_records, select_record
from tests.helpers.fake_sweep import Truth


def test_only_the_planted_effect_is_significant(complete_results: Results) -> None:
    verdicts = {r["contrast"]: r for r in read_records(build_effect_table(complete_results))}
    assert verdicts["main:awareness"]["verdict"] == "helps"
    assert verdicts["main:mp_nce"]["verdict"] == "unresolved"
    assert float(verdicts["main:mp_nce"]["mde"]) > 0
    assert verdicts["full - clip"]["family"] == "exploratory"
    assert verdicts["full - clip"]["forward_passes"] == "3 vs. 1 image forward passes"
    assert len(verdicts["full - clip"]["runs"].split()) == 6
    assert abs(float(verdicts["main:awareness"]["effect"]) - 0.08) < 0.03


def test_other_scores_have_no_verdict(complete_results: Results) -> None:
    """A larger error is worse, and nothing is corrected."""
    others = read_records(build_other_effects_table(complete_results))
    table = build_other_effects_table(complete_results)
    calibration = select_record(table, score="ece", contrast="main:awareness")
    assert float(calibration["ci_low"]) > 0
    assert {(r["verdict"], r["family"]) for r in others} == {("", "exploratory")}


def test_without_runs_there_is_no_data(tmp_path: Path) -> None:
    cells = tuple((a.name, s) for a in fake_sweep.arms() for s in (0, 1, 2))
    results = analyze_fake_sweep(tmp_path, Truth(missing=cells))
    assert {e.mean for e in results.effects.values()} == {None}
    assert "no data" in to_markdown(build_effect_table(results))
    assert len(summary.build_terminal_summary(results)) <= 22


def test_excluded_seeds_have_a_note(tmp_path: Path) -> None:
    table = build_effect_table(analyze_fake_sweep(tmp_path, Truth(diverged=(("clip", 1),))))
    row = next(row for row in table.rows if row[0].text == "UniCLIP against CLIP")
    assert row[2].text == "too few seeds at 3 seeds (1 diverged)"
    assert row[7].text == "2 of 3 (1 diverged)"
    assert any(
        note.startswith("UniCLIP against CLIP: 1 seed excluded because a run diverged; with")
        for note in table.notes
    )
