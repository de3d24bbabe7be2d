"""Numbers and verdicts as text."""

from __future__ import annotations

import pytest

from analysis import formatting
from analysis.statistics.effects import Effect, Observations


def make_effect(*values: float, p: float | None = None, **fields: float) -> Effect:
    mean = sum(values) / len(values) if values else None
    seeds = tuple(range(len(values)))
    return Effect(seeds=seeds, values=values, mean=mean, p=p, **fields)  # type: ignore[arg-type]


def test_numbers_have_a_real_minus_and_no_negative_zero() -> None:
    minus = formatting.MINUS
    assert formatting.format_number(-0.5) == f"{minus}0.500"
    assert formatting.format_number(-0.0001) == "0.000"
    assert formatting.format_number(None) == formatting.format_number(float("nan")) == "n/a"
    assert formatting.format_signed(0.1234) == "+0.123"
    assert formatting.format_signed(-0.1234) == f"{minus}0.123"
    assert formatting.format_signed(0.0) == "0"
    assert formatting.format_p_value(0.0001) == "< 0.001"
    assert formatting.format_p_value(0.25) == "0.250"
    assert formatting.format_p_value(None) == ""


def test_scores_are_percent_with_the_decimals_of_their_standard_error() -> None:
    fine = formatting.make_number_format("recall", 0.0005)
    assert fine.format(0.54321) == "54.32"
    assert fine.format_with_unit(0.54321) == "54.32 %"
    assert fine.format_signed(-0.0123) == f"{formatting.MINUS}1.23"
    assert formatting.make_number_format("recall", 0.004).format(0.54321) == "54.3"
    assert formatting.make_number_format("recall", 0.05).format(0.54321) == "54.3"
    assert formatting.make_number_format("recall", None).format(0.54321) == "54.3"
    gap = formatting.make_number_format("gap", 0.02)
    assert (gap.format(0.8123), gap.unit, gap.difference_unit) == ("0.812", "", "")


def test_a_percentage_has_one_or_two_decimals_and_zero_has_no_sign() -> None:
    number_format = formatting.make_number_format("recall", 1e-6)
    assert number_format.format_signed(0.00002) == "0.00"
    assert number_format.format_signed(-0.0002) == f"{formatting.MINUS}0.02"
    effect = make_effect(0.1, low=-0.00001, high=0.0005)
    assert number_format.format_interval(effect) == "[0.00, +0.05]"
    distance = formatting.make_number_format("gap", 1e-5)
    assert distance.format_signed(0.00002) == "+0.000020"


def test_chance_has_at_least_two_digits() -> None:
    number_format = formatting.make_number_format("recall", 0.01)
    assert number_format.format_exact(1 / 600) == "0.17"
    assert number_format.format_exact(0.25) == "25.0"
    assert number_format.format_exact(None) == "n/a"
    assert number_format.format_exact(0.0) == "0.0"


def test_the_decimals_of_all_arms_are_those_of_the_median_error() -> None:
    values = {
        "a": {0: 0.50, 1: 0.52, 2: 0.54},
        "b": {0: 0.5, 1: 0.5001, 2: 0.5002},
        "c": {0: 0.3, 1: 0.33, 2: 0.31},
    }
    observations = Observations(seeds=(0, 1, 2), values=values)
    assert formatting.choose_score_format("recall", observations, values).decimals == 1
    one_seed = Observations(seeds=(0,), values={"a": {0: 0.5}}, resolution=1 / 10_000)
    assert formatting.choose_score_format("recall", one_seed, ["a", "none"]).decimals == 1
    assert formatting.choose_proportion_format(0.5, 100).format(0.5) == "50.0"
    assert formatting.choose_proportion_format(None, 0).format(None) == "n/a"


def test_lost_seeds_have_their_reason() -> None:
    effect = make_effect(0.1, 0.2, num_diverged=1, num_missing=2)
    assert formatting.format_seed_count(effect) == "2 of 5 (1 diverged, 2 missing)"
    assert formatting.format_seed_count(make_effect(0.1, 0.2, 0.1)) == "3"
    assert formatting.format_exclusions({"diverged": 0, "failed": 1}) == " (1 failed)"


def test_forward_passes_of_both_sides() -> None:
    passes = {"a": {"image": 3.0}, "b": {"image": 1.0}, "c": {"image": 2.0}}
    text = formatting.format_forward_passes(passes, ["a"], ["b", "c"])
    assert text == "3 vs. 1 or 2 image forward passes"
    assert formatting.format_forward_passes(passes, ["a"], ["unknown"]) == "not stated"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("retrieval.r1", "R@1 both ways"),
        ("retrieval.r1.views.true", "R@1 both ways (true vector)"),
        ("retrieval.log_likelihood", "log likelihood both ways"),
        ("retrieval.t2i.mrr", "MRR text to image"),
        ("retrieval.caption.r1", "R@1 captions"),
        ("retrieval.caption.i2t.median_rank", "median rank captions, image to text"),
        ("retrieval.unknown", "retrieval unknown"),
        ("retrieval.i2t.r5", "R@5 image to text"),
        ("zeroshot.skin_tone", "zero-shot skin tone"),
        ("probe.category.views.identity", "linear probe category (identity vector)"),
        ("ece", "calibration error"),
        ("zeroshot.ece", "zero-shot calibration error"),
        ("zeroshot.label.ece", "zero-shot label calibration error"),
        ("caption.ece", "caption calibration error"),
        ("zeroshot.label[ece]", "zero-shot label: ece"),
        ("probe.label[a.b/c]", "linear probe label: a.b/c"),
        ("zeroshot[mean]", "zero-shot: mean"),
        ("zeroshot.label[]", "zero-shot label: "),
        ("zeroshot.mean_per_class", "zero-shot mean per class"),
    ],
)
def test_score_labels(name: str, label: str) -> None:
    assert formatting.format_score_label(name) == label
