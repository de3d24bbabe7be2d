"""Tables of effects: verdicts on the primary score alone, the rest is exploratory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.report import summary
from analysis.results.results import Results
from analysis.statistics.verdicts import negate
from analysis.tables.effects import build_effect_table, build_other_effects_table
from analysis.tables.table import to_markdown
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_with_metrics,
    read_records,
    select_record,
)
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS


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


def test_an_inert_component_is_practically_nothing_at_the_margin(tmp_path: Path) -> None:
    truth = Truth(seeds=tuple(range(13)), noise=0.003, margin=0.01, looks=DEFAULT_LOOKS)
    table = build_effect_table(analyze_fake_sweep(tmp_path, truth))
    record = select_record(table, contrast="main:mp_nce")
    assert (record["verdict"], record["verdict_seeds"]) == ("practically nothing", "12")
    assert (record["num_seeds"], record["margin"], record["mde_seeds"]) == ("13", "0.01", "12")
    assert float(record["p_equivalence"]) < 0.05 < float(record["p_adjusted"])
    assert float(record["mde_low"]) < float(record["mde"]) < float(record["mde_high"])
    row = next(row for row in table.rows if row[0].text == "MP-NCE loss")
    assert row[2].text == "practically nothing at 12 seeds"
    notes = " ".join(table.notes)
    assert "smaller than 1.0 pp on R@1 both ways" in notes
    assert "Reason of this margin: a smaller gain would not pay for a second encoder." in notes
    assert "Verdicts are made at 5 (level 0.02), 8 (0.015) and 12 (0.015) seeds" in notes


def test_the_moderated_test_is_a_labelled_line_with_its_check(complete_results: Results) -> None:
    table = build_effect_table(complete_results)
    (note,) = [n for n in table.notes if n.startswith("Moderated t test (limma), no verdict")]
    assert "Bartlett's test: p = " in note
    for contrast in complete_results.primary_contrasts:
        record = select_record(table, contrast=contrast.name)
        assert f"{contrast.label} p " in note
        assert 0 <= float(record["p_moderated"]) <= 1
    assert select_record(table, contrast="noise")["p_moderated"] == ""


def add_reversed_score(results: Results) -> Results:
    """Return results with a second primary score, on which every effect has the other sign."""
    key = ("openmoji", "retrieval.i2t.r1")
    reversed_effects = {name: negate(effect) for name, effect in results.effects.items()}
    effects = {**results.primary_effects, key: reversed_effects}
    return replace(results, primary_effects=effects)


def test_with_two_primary_scores_each_has_its_rows(complete_results: Results) -> None:
    table = build_effect_table(add_reversed_score(complete_results))
    assert table.headings[:4] == ("contrast", "score", "family", "verdict")
    rows = [row for row in table.rows if row[0].text == "augmentation awareness"]
    assert [(row[1].text, row[3].text) for row in rows] == [
        ("R@1 both ways", "helps at 3 seeds"),
        ("R@1 image to text", "hurts at 3 seeds"),
    ]
    records = [r for r in read_records(table) if r["contrast"] == "main:awareness"]
    assert [(r["score"], r["verdict"]) for r in records] == [
        ("retrieval.r1", "helps"),
        ("retrieval.i2t.r1", "hurts"),
    ]


def test_opposite_signs_on_two_scores_read_mixed(complete_results: Results) -> None:
    results = add_reversed_score(complete_results)
    contrast = results.primary_contrasts[0]
    sentence = summary.describe_contrast(results, contrast)
    assert sentence.startswith(
        "Augmentation awareness: mixed: helps on R@1 both ways at 3 seeds, +"
    )
    assert "; hurts on R@1 image to text at 3 seeds, " in sentence


def test_scores_of_two_units_have_theirs_in_each_row(tmp_path: Path) -> None:
    """And the margin has it in its note."""
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "gap", Truth(margin=0.01))
    table = build_effect_table(results)
    assert "effect" in table.headings
    assert {row[1].text for row in table.rows} == {"R@1 both ways (pp)", "gap"}
    assert "pp: percentage points." in table.notes
    moderated = [note for note in table.notes if note.startswith("Moderated t test")]
    assert [note.split(",")[0] for note in moderated] == [
        "Moderated t test (limma) on R@1 both ways"
    ], "the scores of the gap have no spread"
    assert "shown to be smaller than 1.0 pp on R@1 both ways" in " ".join(table.notes)
