"""Paired differences of two models: literal formulas, clusters, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.item_clusters import compute_clustered_se
from uniclip.evaluate.comparison import compare_scores, estimate_paired_difference
from uniclip.evaluate.scoring.score_card import ScoreCard


def test_without_clusters_it_is_the_paired_t_interval() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.uniform(size=(2, 40)) > 0.4
    interval = estimate_paired_difference(first, second)
    assert interval is not None
    expected = stats.ttest_rel(second.astype(float), first.astype(float)).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.num_samples == interval.num_clusters == 40


def test_of_unmatched_clusters_there_is_no_interval() -> None:
    first, second = np.zeros(6), np.arange(6.0)
    assert estimate_paired_difference(first, second, np.arange(6)) is not None
    assert estimate_paired_difference(first, second, np.arange(7)) is None


def test_the_standard_error_is_robust_to_clusters() -> None:
    generator = np.random.default_rng(1)
    clusters = generator.integers(0, 12, 60)
    first, second = generator.normal(size=(2, 60)) + generator.normal(size=12)[clusters]
    interval = estimate_paired_difference(first, second, clusters)
    assert interval is not None
    differences = second - first
    sums = [(differences - differences.mean())[clusters == g].sum() for g in range(12)]
    error = math.sqrt(12 / 11 * sum(s * s for s in sums)) / 60
    assert error == pytest.approx(compute_clustered_se(differences, clusters))
    half_width = stats.t.ppf(0.975, 11) * error
    assert interval.high - interval.low == pytest.approx(2 * half_width)
    assert interval.num_clusters == 12


def test_the_interval_covers_the_true_difference() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        effect = generator.normal(0.1, 0.5, 30)
        clusters = np.repeat(np.arange(30), 4)
        difference = effect[clusters] + generator.normal(0, 0.3, 120)
        interval = estimate_paired_difference(np.zeros(120), difference, clusters)
        assert interval is not None
        covered += interval.low <= 0.1 <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


def test_there_is_no_interval_of_one_cluster_or_unlike_samples() -> None:
    assert estimate_paired_difference(np.ones(3), np.zeros(3), np.zeros(3)) is None
    assert estimate_paired_difference(np.ones(3), np.zeros(4)) is None


def make_results(outcome: list[float], ids: list[int]):
    score_card = ScoreCard()
    score_card.add_array("ids", np.array(ids, np.uint64))
    score_card.add_outcomes("zeroshot", np.array(outcome), kind="accuracy", chance=0.1)
    score_card.add_scalar("zeroshot.ece", outcome[0] / 2, kind="error", samples=len(ids))
    return score_card.get_results()


def test_scores_of_both_are_compared_and_those_without_outcomes_have_no_interval() -> None:
    first, second = (
        make_results([0, 1, 0, 1], [1, 2, 3, 4]),
        make_results([1, 1, 0, 1], [1, 2, 3, 4]),
    )
    accuracy, error = compare_scores(first, second)
    assert accuracy.difference == 0.25
    assert accuracy.low is not None
    assert accuracy.low < 0.25 < accuracy.high
    assert error.difference == 0.5
    assert error.low is None
    other_samples, _ = compare_scores(first, make_results([1, 1, 0, 1], [1, 2, 3, 5]))
    assert other_samples.difference == 0.25
    assert other_samples.low is None


def test_a_mean_per_class_has_the_interval_of_its_classes() -> None:
    """The error is that of independent means of classes, each with its own variance."""
    generator = np.random.default_rng(3)
    classes = np.repeat([0, 1, 2], [30, 10, 5])
    first, second = generator.normal(size=(2, 45)) + classes
    interval = estimate_paired_difference(first, second, classes=classes)
    assert interval is not None
    differences = second - first
    parts = [differences[classes == c] for c in range(3)]
    mean = np.mean([part.mean() for part in parts])
    error = math.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / 3
    half_width = stats.t.ppf(0.975, 44) * error * math.sqrt(45 / 44)
    assert (interval.low, interval.high) == pytest.approx((mean - half_width, mean + half_width))
    assert estimate_paired_difference(first, second, classes=np.arange(45)) is None


def test_the_interval_of_a_mean_per_class_covers_the_true_difference() -> None:
    """Samples are drawn from classes of unequal shares and effects, as those of a data set are."""
    generator = np.random.default_rng(4)
    effects, shares = np.array([-0.2, 0.1, 0.4]), [0.6, 0.3, 0.1]
    covered = 0
    for _ in range(400):
        classes = generator.choice(3, 200, p=shares)
        difference = (
            effects[classes]
            + generator.normal(0, [0.3, 0.6, 0.9], (200, 3))[np.arange(200), classes]
        )
        interval = estimate_paired_difference(np.zeros(200), difference, classes=classes)
        assert interval is not None
        covered += interval.low <= effects.mean() <= interval.high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class"])
def test_means_per_class_are_compared_whichever_metric_is_the_main_one(metric: str) -> None:
    labels = np.repeat([0, 1], [6, 2])

    def make(outcome: list[float]):
        score_card = ScoreCard()
        score_card.add_array("ids", np.arange(8, dtype=np.uint64))
        score_card.add_array("labels", labels.astype(np.int16))
        values = np.array(outcome)
        mean = (values[:6].mean() + values[6:].mean()) / 2
        main = {"accuracy": "zeroshot", "mean_per_class": "zeroshot.accuracy"}[metric]
        other = {"accuracy": "zeroshot.mean_per_class", "mean_per_class": "zeroshot"}[metric]
        score_card.add_outcomes(main, values, kind="accuracy", chance=0.5)
        score_card.add_scalar(other, mean, kind="accuracy", samples=8, chance=0.5)
        score_card.add_scalar("zeroshot.worst", 0.3, kind="worst_group", samples=8)
        return score_card.get_results()

    first, second = make([1, 1, 1, 0, 0, 0, 1, 0]), make([1, 1, 1, 1, 0, 0, 1, 1])
    differences = {d.score: d for d in compare_scores(first, second)}
    name = "zeroshot" if metric == "mean_per_class" else "zeroshot.mean_per_class"
    difference = differences[name]
    assert difference.difference == pytest.approx((1 / 6 + 1 / 2) / 2)
    assert difference.low is not None
    assert difference.low < difference.difference < difference.high
    assert differences["zeroshot.worst"].low is None
