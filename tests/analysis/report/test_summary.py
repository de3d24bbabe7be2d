"""Text summaries: short and plain, losses and missing cells are always named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report import summary
from analysis.results.alarms import DataCheck
from analysis.results.results import Results
from analysis.tables.effects import build_effect_table
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_adaptive_sweep,
    analyze_fake_sweep,
    analyze_listed_sweep,
    analyze_sweep,
    format_all_tables,
)
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS, PrimaryMetric


@pytest.mark.parametrize("clip", [0.515, 0.545, 0.56, 0.7])
def test_every_statement_on_two_arms_has_the_verdict_of_their_contrast(
    tmp_path: Path, clip: float
) -> None:
    """From clearly not significant to clearly so: table, sentence, bold and terminal agree."""
    results = analyze_fake_sweep(tmp_path, Truth(clip=clip, effects={}))
    contrast = next(c for c in results.plan.contrasts if c.name == "full - clip")
    verdict, mean = results.judge(contrast), results.effects[contrast.name].mean
    assert (mean or 0) < 0
    row = next(r for r in build_effect_table(results).rows if r[0].text == "UniCLIP against CLIP")
    assert row[2].text == verdict.text
    lines = summary.build_terminal_summary(results)
    assert any(
        line.startswith("UniCLIP against CLIP ") and line.endswith(f" {verdict.short_text}")
        for line in lines
    )
    (sentence,) = [s for s in summary.build_summary_sentences(results) if "scores" in s]
    loses = re.search(r"loses to simpler arms: (.*)", sentence)
    assert bool(verdict.sign == -1) == bool(loses and "CLIP scores" in loses[1])
    if verdict.sign:
        assert f"UniCLIP against CLIP: {verdict.text}" in sentence
    comparison = results.best_comparisons[results.primary_score]
    assert comparison is not None
    if comparison.best_arm == "clip":
        worse = {-1: True, 0: False}[verdict.sign]
        assert ("full" in comparison.worse_arms) == worse
        assert ("full" in comparison.tied_arms) != worse


def test_a_listed_reference_that_loses_is_reported_and_shown(tmp_path: Path) -> None:
    effects = {"awareness": -0.2, "mp_nce": -0.1}
    results = analyze_listed_sweep(tmp_path / "loses", Truth(effects=effects, noise=0.002))
    sentence = "UniCLIP, all components loses to baselines: CLIP, the same views scores"
    assert any(s.startswith(sentence) for s in summary.build_summary_sentences(results))
    lines = summary.build_terminal_summary(results)
    assert any(line.startswith(sentence) for line in lines)
    assert any(re.match(r"UniCLIP, all components +3\d\.\d \+-", line) for line in lines)
    truth = Truth(effects={name: 0.2 for name in fake_sweep.COMPONENTS})
    leading = summary.build_summary_sentences(analyze_listed_sweep(tmp_path / "leads", truth))
    assert any("No baseline scores higher than UniCLIP, all components" in s for s in leading)


def test_a_failed_cell_is_reported_without_time_and_host(tmp_path: Path) -> None:
    cells = (("full", 0), ("clip", 1), ("clip", 2))
    analyzed = []
    for seconds, host in ((1.0, "here"), (99.0, "there")):
        store, sweep = fake_sweep.make(tmp_path / host, Truth(missing=cells))
        fake_sweep.fail(store, fake_sweep.run_id("full", 0), seconds=seconds, host=host)
        fake_sweep.begin(store, fake_sweep.run_id("clip", 2), time=seconds, host=host)
        analyzed.append(analyze_sweep(store, sweep))
    tables = [format_all_tables(results) for results in analyzed]
    sentence = summary.build_summary_sentences(analyzed[0])[-1]
    assert sentence.startswith("Of 33 cells: 1 pending, 1 unfinished, 1 failed (`status` ")
    assert "2 of 3 (1 failed)" in "".join(tables[0].values())
    assert f"{analyzed[0].run_by_cell['full', 0]} (failed)" in tables[0]["runs.md"]
    assert tables[0] == tables[1], "no time, no host"


def test_missing_cells_outlast_every_other_warning(tmp_path: Path) -> None:
    cells = (("no-mp-nce", 0), ("clip", 1))
    truth = Truth(effects={"awareness": -0.2}, noise=0.002, missing=cells[:1], diverged=cells[1:])
    results = analyze_listed_sweep(tmp_path, truth)
    check = DataCheck(
        dataset="set", arm="full", seed=0, run=results.run_by_cell["full", 0],
        accuracy_as_named=0.1, accuracy_permuted=0.9, label_order_differs=True, above_chance=True,
        score="", value=None, value_without_duplicates=None, num_near_duplicates=None,
        num_undecidable=None, num_samples=100,
    )  # fmt: skip
    checks = [replace(check, dataset=f"set{i}") for i in range(20)]
    lines = summary.build_terminal_summary(replace(results, data_checks=checks))
    assert len(lines) == 22
    assert lines[-1] == "Of 33 cells: 1 pending, 1 diverged."
    assert re.fullmatch(r"\.\.\. and \d+ more lines: see the report", lines[-2])


def test_the_terminal_summary_is_short_and_plain(complete_results: Results) -> None:
    lines = summary.build_terminal_summary(complete_results)
    assert len(lines) <= 22
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)
    assert any(line.endswith(" unresolved") for line in lines)
    assert "Verdicts of the look at 3 seeds, the last one." in lines


def test_the_terminal_summary_counts_what_it_leaves_out(complete_results: Results) -> None:
    plan, sweep_data = complete_results.plan, complete_results.sweep_data
    contrasts = tuple(replace(c, primary=c.kind != "noise") for c in plan.contrasts)
    changed = replace(sweep_data, plan=replace(plan, contrasts=contrasts))
    lines = summary.build_terminal_summary(replace(complete_results, sweep_data=changed))
    num_more = len(contrasts) - 8
    assert num_more > 0
    assert f"... and {num_more} more contrasts: see the report" in lines
    assert "contrasts more" not in " ".join(summary.build_terminal_summary(complete_results))


def test_a_sign_that_depends_on_a_setting_is_reported(tmp_path: Path) -> None:
    """The effect of MP-NCE stands for awareness in another setting, where it is turned."""
    effects = {"awareness": 0.1, "mp_nce": -0.1}
    store, sweep = fake_sweep.make(tmp_path, Truth(effects=effects, noise=0.002))
    plan = fake_sweep.plan(Truth(effects=effects))
    contrasts = tuple(
        replace(c, setting="s", component="awareness", label="awareness, other head", primary=False)
        if c.name == "main:mp_nce"
        else c
        for c in plan.contrasts
    )
    store.get_sweep(sweep).write_plan(replace(plan, contrasts=contrasts))
    results = analyze_sweep(store, sweep)
    (sentence,) = [s for s in summary.build_summary_sentences(results) if "The sign" in s]
    assert re.fullmatch(
        r"The sign of an effect depends on a setting: augmentation awareness: "
        r"helps at 3 seeds \(\+[\d.]+ pp\); awareness, other head: hurts\* at 3 seeds "
        r"\(\u2212[\d.]+ pp\)\.",
        sentence,
    )
    assert any(line.startswith("The sign of") for line in summary.build_terminal_summary(results))


def test_before_the_first_look_the_summary_says_when_it_is(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(looks=DEFAULT_LOOKS, margin=0.01))
    sentences = summary.build_summary_sentences(results)
    assert sentences[0].startswith("Augmentation awareness: no verdict before 5 seeds on R@1 both")
    assert "MDE (80 % power) at 5 seeds " in sentences[0]
    assert "No verdict before 5 seeds, 3 finished; first look at 5 seeds (2 more seeds" in " ".join(
        sentences
    )
    lines = summary.build_terminal_summary(results)
    rows = [line for line in lines if line.endswith(" no verdict")]
    assert len(rows) == 6
    assert any(line.startswith("No verdict before 5 seeds, 3 finished;") for line in lines)
    assert "no verdict yet" in " ".join(lines)


def test_an_arm_without_runs_does_not_hide_the_verdicts_of_the_others(tmp_path: Path) -> None:
    truth = Truth(seeds=tuple(range(5)), looks=DEFAULT_LOOKS, missing=(("clip", 0),))
    sentences = summary.build_summary_sentences(analyze_fake_sweep(tmp_path, truth))
    assert not any(s.startswith("No verdict before") for s in sentences)
    (sentence,) = [s for s in sentences if "have no verdict yet" in s]
    assert sentence.startswith("1 of 12 contrasts have no verdict yet: of the first 5 seeds, runs ")


def test_seeds_that_no_look_counts_are_explained(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(seeds=(3, 4, 7), looks=DEFAULT_LOOKS))
    sentence = "No verdict before 5 seeds from seed 0 on, 0 finished; first look at 5 seeds"
    assert any(s.startswith(sentence) for s in summary.build_summary_sentences(results))


def test_between_looks_the_verdict_of_the_last_one_stands(tmp_path: Path) -> None:
    truth = Truth(seeds=tuple(range(7)), looks=DEFAULT_LOOKS, margin=0.002)
    results = analyze_fake_sweep(tmp_path, truth)
    sentences = summary.build_summary_sentences(results)
    assert sentences[0].startswith("Augmentation awareness: helps on R@1 both ways at 5 seeds, +")
    assert ", 7 seeds, " in sentences[0]
    assert "unresolved on R@1 both ways at 5 seeds" in sentences[1]
    assert " seeds would resolve it: " in sentences[1]
    lines = summary.build_terminal_summary(results)
    assert "Verdicts of the look at 5 seeds; next look at 8 seeds (1 more seed" in " ".join(lines)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 22


def test_an_adaptive_sweep_has_no_next_look(tmp_path: Path) -> None:
    text = " ".join(summary.build_terminal_summary(analyze_adaptive_sweep(tmp_path)))
    assert "Adaptive seeds: verdicts of looks at 4 to 6 seeds." in text
    assert "next look" not in text


def test_every_statement_is_made_of_both_primary_scores(tmp_path: Path) -> None:
    """Baselines, noise floor, signs and what is needed; each names its score."""
    store, sweep_id = fake_sweep.make(tmp_path, Truth(seeds=tuple(range(5)), noise=0.002))
    plan = fake_sweep.plan(Truth(seeds=tuple(range(5))))
    co_primary = PrimaryMetric(dataset="openmoji", metric="retrieval.t2i.r5")
    contrasts = tuple(
        replace(c, setting="s", component="awareness", primary=False, weights=negated)
        if c.name == "full - no-awareness"
        else c
        for c in plan.contrasts
        for negated in [{arm: -weight for arm, weight in c.weights.items()}]
    )
    store.get_sweep(sweep_id).write_plan(
        replace(plan, co_primary_metric=co_primary, contrasts=contrasts)
    )
    results = analyze_sweep(store, sweep_id)
    sentences = summary.build_summary_sentences(results)
    for label in (results.format_heading(key) for key in results.primary_scores):
        assert any(s.startswith(f"On {label}: ") and "simpler arm" in s for s in sentences), label
        assert any(s.startswith("Noise floor") and f" on {label}" in s for s in sentences), label
        assert any(s.startswith(f"The sign of an effect on {label} ") for s in sentences), label
