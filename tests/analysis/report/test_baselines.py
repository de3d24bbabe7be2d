"""Sentences on the baselines: losses are named, on each primary score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.report import summary
from analysis.report.baselines import describe_baselines
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_sweep,
    analyze_with_metrics,
)
from tests.helpers.fake_sweep import Truth


def test_a_loss_to_a_simpler_arm_is_reported(tmp_path: Path) -> None:
    losing = analyze_fake_sweep(tmp_path / "loses", Truth(seeds=tuple(range(6)), clip=0.75))
    assert any("loses to simpler arms: CLIP" in s for s in summary.build_summary_sentences(losing))
    truth = Truth(clip=0.2, effects={n: 0.1 for n in fake_sweep.COMPONENTS})
    leading = summary.build_summary_sentences(analyze_fake_sweep(tmp_path / "leads", truth))
    assert any("No simpler arm scores higher" in s for s in leading)


def test_a_cost_that_is_not_counted_is_left_out(tmp_path: Path) -> None:
    truth = Truth(seeds=tuple(range(6)), clip=0.75)
    store, sweep = fake_sweep.make(tmp_path, truth)
    store.get_sweep(sweep).write_plan(replace(fake_sweep.plan(truth), forward_passes={}))
    sentences = summary.build_summary_sentences(analyze_sweep(store, sweep))
    (sentence,) = [s for s in sentences if "loses to simpler arms: CLIP" in s]
    assert " % (UniCLIP against CLIP: hurts" in sentence
    assert "not stated" not in sentence


def test_an_arm_of_another_setting_is_no_simpler_arm(tmp_path: Path) -> None:
    truth = Truth(seeds=tuple(range(6)), clip=0.75)
    store, sweep = fake_sweep.make(tmp_path, truth)
    plan = fake_sweep.plan(truth)
    arms = tuple(replace(a, role="setting") if a.role == "outside" else a for a in plan.arms)
    store.get_sweep(sweep).write_plan(replace(plan, arms=arms))
    results = analyze_sweep(store, sweep)
    assert "clip" not in [b.arm for b in results.baselines[results.primary_score]]
    assert not any("simpler arms: CLIP" in s for s in summary.build_summary_sentences(results))
    assert not any(line.startswith("CLIP ") for line in summary.build_terminal_summary(results))


def test_there_is_a_sentence_for_each_primary_score(tmp_path: Path) -> None:
    """With two scores each names its own, with its own values; with one none is named."""
    results = analyze_with_metrics(tmp_path / "two", "retrieval.r1", "zeroshot.skin_tone")
    sentences = describe_baselines(results)
    assert len(sentences) == 2
    for key, sentence in zip(results.primary_scores, sentences):
        assert sentence.startswith(f"On {results.format_heading(key)}: ")
        mean = results.compute_mean("full", key)
        assert results.get_score_format(key).format_with_unit(mean) in sentence
    (sentence,) = describe_baselines(analyze_fake_sweep(tmp_path / "one"))
    assert not sentence.startswith("On ")
