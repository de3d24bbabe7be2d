"""Paired differences of two models: literal formulas, clusters, and coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.item_clusters import compute_clustered_se
from uniclip.evaluate.comparison import compare_scores, estimate_paired_difference, find_clusters
from uniclip.evaluate.scoring.score_card import ScoreCard


def test_without_clusters_it_is_the_paired_t_interval() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.uniform(size=(2, 40)) > 0.4
    interval = estimate_paired_difference(first, second)
    assert interval is not None
    expected = stats.ttest_rel(second.astype(float), first.astype(float)).confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.num_samples == interval.num_clusters == 40


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


def test_captions_are_of_the_cluster_of_their_image() -> None:
    image = np.array([0, 0, 1, 2])
    arrays = {"retrieval.t2i.image": image}
    assert find_clusters("retrieval.i2t.r1", arrays, 3) is None
    assert find_clusters("retrieval.t2i.r1", arrays, 4).tolist() == image.tolist()
    arrays["family"] = np.array([7, 7, 8])
    assert find_clusters("retrieval.t2i.r1", arrays, 4).tolist() == [7, 7, 7, 8]
    assert find_clusters("retrieval.i2t.r1", arrays, 3).tolist() == [7, 7, 8]
    arrays["labels.skin"] = np.array([0, -1, 1])
    assert find_clusters("zeroshot.skin", arrays, 2).tolist() == [7, 8]
    assert find_clusters("zeroshot.other", arrays, 2) is None
