"""Results: only planted effects are significant, and differences of code are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report import summary
from analysis.report.html import collect_warnings
from analysis.results.results import (
    Results,
    build_primary_scores,
    compute_knockout_effect,
    find_comparability_warnings,
    find_mixed_numerics,
    find_mixed_training,
)
from analysis.statistics.verdicts import estimate_contrasts
from analysis.tables.effects import build_effect_table
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_with_metrics,
    select_record,
    tables_by_name,
)
from tests.helpers.fake_sweep import Truth


def test_only_the_planted_effect_is_significant(complete_results: Results) -> None:
    primary = {c.name: complete_results.effects[c.name] for c in complete_results.primary_contrasts}
    assert {name for name, effect in primary.items() if effect.sign} == {"main:awareness"}
    assert all(effect.p_adjusted is not None for effect in primary.values())
    again = estimate_contrasts(
        complete_results.plan.contrasts,
        build_primary_scores(complete_results.sweep_data),
        complete_results.plan.looks,
    )
    assert again == complete_results.primary_effects


def test_the_headings_of_scores(complete_results: Results) -> None:
    assert complete_results.format_heading(("openmoji", "retrieval.r1")) == "R@1 both ways"
    assert complete_results.format_heading(("openmoji", "zeroshot.gender")) == "zero-shot gender*"
    assert complete_results.format_heading(("openmoji", "ece"), "value") == "calibration error (%)"
    assert complete_results.format_heading(("openmoji", "gap"), "value") == "gap"
    heading = complete_results.format_heading(("openmoji", "retrieval.r1"), "difference")
    assert heading == "R@1 both ways (pp)"
    assert complete_results.published_datasets == []
    assert complete_results.get_arm_label("clip") == "CLIP"


def test_the_knockout_effect_is_the_mean_of_what_was_logged(complete_results: Results) -> None:
    knockout = compute_knockout_effect(complete_results.sweep_data, "awareness")
    assert knockout.loss_change == pytest.approx(0.42)
    assert knockout.relative_changes == pytest.approx(
        {"augmentation_encoder": 0.6, "image_head": 0.8}
    )
    unknown = compute_knockout_effect(complete_results.sweep_data, "unknown")
    assert (unknown.loss_change, unknown.relative_changes) == (None, {})


def test_runs_of_other_code_and_of_other_numerics_are_reported(
    complete_results: Results, tmp_path: Path
) -> None:
    cells = tuple(("no-awareness", s) for s in (0, 1, 2)) + (("clip", 1),)
    results = analyze_fake_sweep(tmp_path, Truth(other_code=cells))
    code = (
        "Trained by a different version of the code: no-awareness/0, no-awareness/1, clip/1 and "
        "1 more"
    )
    classes = "Arms of different numerics classes are compared: augmentation awareness, MP-NCE"
    for warning in (code, classes):
        assert any(note.startswith(warning) for note in build_effect_table(results).notes)
        assert warning.split(":")[0] in " ".join(summary.build_terminal_summary(results))
        assert any(w.startswith(warning) for w in collect_warnings(results))
    assert len(find_mixed_training(results)) == 4
    assert find_comparability_warnings(complete_results) == []
    assert find_mixed_numerics(complete_results) == []


def test_two_seeds_allow_no_verdict(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(seeds=(0, 1)))
    assert {e.sign for e in results.effects.values()} <= {None, 0}
    assert not any(results.tied_for_best.values())
    assert all(
        "no verdict before 3 seeds" in s for s in summary.build_summary_sentences(results)[:3]
    )


def test_lost_seeds_of_an_effect_are_counted(tmp_path: Path) -> None:
    truth = Truth(seeds=(0, 1, 2, 3), diverged=(("clip", 1),), missing=(("full", 3),))
    effect = analyze_fake_sweep(tmp_path, truth).effects["full - clip"]
    assert (len(effect.values), effect.num_diverged, effect.num_missing) == (2, 1, 1)


def test_a_co_primary_score_is_tested_in_the_same_family(tmp_path: Path) -> None:
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "zeroshot.skin_tone")
    key = ("openmoji", "zeroshot.skin_tone")
    assert list(results.primary_effects) == [("openmoji", "retrieval.r1"), key]
    assert key not in results.other_effects
    looks = [effects["main:awareness"].look for effects in results.primary_effects.values()]
    num_primary = len([c for c in results.plan.contrasts if c.primary])
    assert {look.family_size for look in looks if look} == {2 * num_primary}
    awareness = next(c for c in results.plan.contrasts if c.name == "main:awareness")
    assert results.judge(awareness, key).word == "helps"
    table = tables_by_name(results)["effects"]
    record = select_record(table, contrast="main:awareness", score="zeroshot.skin_tone")
    assert (record["family"], record["verdict"]) == ("primary", "helps")
    assert float(record["seeds_and_test_set_low"]) < float(record["effect"])
    assert tables_by_name(results)["scores"].headings[2] == "zero-shot skin tone (%)"
    lines = summary.build_terminal_summary(results)
    assert len(lines) <= summary.MAX_LINES
    assert "On zero-shot skin tone: augmentation awareness helps at 3 seeds" in " ".join(lines)
    sentence = summary.build_summary_sentences(results)[0]
    assert sentence.startswith("Augmentation awareness: helps on R@1 both ways at 3 seeds, +")
    assert "; helps on zero-shot skin tone at 3 seeds, +" in sentence


def test_bold_on_a_co_primary_score_has_the_verdicts_of_the_contrasts(tmp_path: Path) -> None:
    """Here UniCLIP is worse than CLIP by their contrast, and not by Holm over all arms."""
    truth = Truth(clip=0.56, effects={})
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "zeroshot.skin_tone", truth)
    key = ("openmoji", "zeroshot.skin_tone")
    comparison = results.best_comparisons[key]
    assert comparison is not None
    assert comparison.best_arm == "clip"
    assert results.get_effects(key)["full - clip"].sign == -1
    assert "full" in comparison.worse_arms


def test_lower_is_better_reverses_verdicts_and_not_numbers(tmp_path: Path) -> None:
    """Awareness raises the calibration error, as it raises the other scores."""
    results = analyze_with_metrics(tmp_path, "ece", None)
    awareness = next(c for c in results.plan.contrasts if c.name == "main:awareness")
    effect = results.effects["main:awareness"]
    assert effect.mean is not None
    assert effect.mean > 0
    assert (effect.sign, results.judge(awareness).word) == (-1, "hurts")
    means = [b.mean for b in results.baselines[results.primary_score]]
    assert means == sorted(means)
    assert "simpler arm scores higher" not in " ".join(summary.build_summary_sentences(results))
