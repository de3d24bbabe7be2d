"""Tables of scores: stable bytes, nothing of the machine, and every seed accounted for."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from analysis import formatting
from analysis.report import summary
from analysis.results.results import Results
from analysis.tables import build_tables
from analysis.tables.scores import build_all_scores_table, build_score_table
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_sweep,
    analyze_with_metrics,
    format_all_tables,
    read_records,
    select_record,
    tables_by_name,
)
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store


def test_copies_of_a_store_give_the_same_bytes(
    complete_root: Path, complete_results: Results, tmp_path: Path
) -> None:
    copy = tmp_path / "somewhere else"
    shutil.copytree(complete_root, copy)
    copied_results = analyze_sweep(Store(copy), complete_results.plan.sweep_id)
    assert format_all_tables(copied_results) == format_all_tables(complete_results)


def test_tables_contain_no_path_time_or_duration(
    complete_root: Path, complete_results: Results
) -> None:
    for name, text in format_all_tables(complete_results).items():
        assert str(complete_root) not in text, name
        assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d|seconds", text), name


def test_scores_have_chance_seeds_and_runs(complete_results: Results) -> None:
    table = build_score_table(complete_results)
    full = select_record(table, arm="full", score="retrieval.r1")
    assert (full["num_seeds"], full["num_samples"], full["dataset"]) == ("3", "600", "openmoji")
    assert float(full["chance"]) == pytest.approx(1 / 600)
    assert full["runs"].split() == [fake_sweep.run_id("full", s) for s in (0, 1, 2)]
    assert table.headings[1] == "R@1 both ways (%)"
    assert not any(h.startswith("zero-shot gender") for h in table.headings)
    assert any("missing, not for data=openmoji" in note for note in table.notes)


def test_report_only_scores_are_marked_in_the_table_of_all_scores(
    complete_results: Results,
) -> None:
    table = build_all_scores_table(complete_results)
    assert {"zero-shot gender* (%)", "gap", "calibration error (%)"} <= {
        row[0].text for row in table.rows
    }
    assert table.notes[-1:] == (formatting.REPORT_ONLY_NOTE,)
    assert {r["score"] for r in read_records(table)} >= {"ece", "gap", "zeroshot.gender"}


def test_diverged_and_missing_runs_are_counted(tmp_path: Path) -> None:
    truth = Truth(
        seeds=(0, 1, 2, 3),
        diverged=(("clip", 1),),
        missing=(("full", 3),),
        unscored=(("none", 0),),
    )
    results = analyze_fake_sweep(tmp_path, truth)
    text = "".join(format_all_tables(results).values())
    assert "1 diverged" in text
    assert "with them at chance" in text
    assert "(pending)" in text
    clip = select_record(build_score_table(results), arm="clip", score="retrieval.r1")
    assert (clip["num_seeds"], clip["num_diverged"]) == ("3", "1")
    assert float(clip["worst_case_mean"]) < float(clip["mean"])
    rows = {row[0].text: row for row in build_score_table(results).rows}
    assert rows["CLIP"][-2].text == "3 of 4 (1 diverged)"


def test_the_caveat_of_different_recipes_is_on_every_table(complete_results: Results) -> None:
    plain = complete_results
    assert plain.plan.caveats == ()
    recipes = {a.name: "a high rate" if a.name == "clip" else "a low one" for a in plain.plan.arms}
    planned = dataclasses.replace(plain.plan, recipe="published", recipe_descriptions=recipes)
    results = dataclasses.replace(
        plain, sweep_data=dataclasses.replace(plain.sweep_data, plan=planned)
    )
    (caveat,) = planned.caveats
    assert summary.build_summary_sentences(results)[0] == caveat
    assert " ".join(summary.build_terminal_summary(results)[1:3]) == caveat
    with_caveat = {t.name: t.notes[0] for t in build_tables(results) if caveat in t.notes}
    assert with_caveat == {t.name: caveat for t in build_tables(plain) if t.name != "runs"}
    untouched = [t.notes[1:] for t in build_tables(results)[:-1]]
    assert untouched == [t.notes for t in build_tables(plain)[:-1]]


def test_scores_of_which_lower_is_better_are_named(
    complete_results: Results, tmp_path: Path
) -> None:
    sentence = "Lower is better, and an improvement negative: calibration error"
    tables = tables_by_name(complete_results)
    for name in ("all_scores", "other_effects"):
        assert any(note.startswith(sentence) for note in tables[name].notes), name
    assert not any("Lower is better" in note for note in tables["scores"].notes)
    tested = tables_by_name(analyze_with_metrics(tmp_path, "ece", "retrieval.r1"))
    for name in ("scores", "effects"):
        assert any(note.startswith(sentence) for note in tested[name].notes), name
