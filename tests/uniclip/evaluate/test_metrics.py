from __future__ import annotations

import itertools

import numpy as np
import pytest

from uniclip.evaluate import metrics


def test_wins_counts_ties_as_half():
    right = np.array([0.5, 0.5], np.float32)
    wrong = np.array([[0.4, 0.5, 0.6], [0.1, 0.2, 0.3]], np.float32)
    assert metrics.compute_win_rate(right, wrong).tolist() == [0.5, 1.0]


def test_wins_of_a_constant_model_is_one_half():
    same = np.full((7, 4), 0.3, np.float32)
    same[:, 0] += 1e-7  # rounding, not an opinion
    assert (metrics.compute_win_rate(same[:, 0], same[:, 1:]) == 0.5).all()


@pytest.mark.parametrize(("right", "wrong", "draws"), [(1, 3, 2), (2, 3, 2), (3, 1, 2), (2, 0, 1)])
def test_hit_probability_equals_enumeration(right, wrong, draws):
    keys = [True] * right + [False] * wrong
    hands = [any(hand) for hand in itertools.combinations(keys, draws)]
    assert metrics.hit_probability(right, wrong, draws) == pytest.approx(np.mean(hands))


def test_hit_probability_at_its_limits():
    counts = np.array([1, 1, 1])
    assert metrics.hit_probability(counts, counts * 4, np.array([-1, 0, 9])).tolist() == [0, 0, 1]
    assert metrics.hit_probability(0, 5, 3) == 0


def test_calibration_error_by_hand():
    confidence = np.array([0.9, 0.9, 0.55, 0.55])
    outcome = np.array([1, 0, 1, 1])
    # Bin of 0.9: accuracy 0.5, off by 0.4. Bin of 0.55: accuracy 1, off by 0.45.
    assert metrics.calibration_error(confidence, outcome) == pytest.approx(0.425)


def test_calibration_error_of_a_calibrated_model_is_zero():
    confidence = np.full(4, 0.75)
    assert metrics.calibration_error(confidence, np.array([1, 1, 1, 0])) == pytest.approx(0)
    assert metrics.calibration_error(np.ones(3), np.ones(3)) == 0


def test_softmax_does_not_overflow():
    rows = metrics.softmax(np.array([[1e5, 0.0], [0.0, 0.0]]))
    assert rows.tolist() == [[1, 0], [0.5, 0.5]]


# VOC's 11 points by hand: the ranking right, wrong, right, wrong, wrong, right has precision 1 at
# recall 1/3, 2/3 at recall 2/3 and 1/2 at recall 1.
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
TRUTH = np.array([1, 0, 1, 0, 0, 1])


def test_eleven_points_by_hand():
    # r = 0, .1, .2, .3 see 1; .4, .5, .6 see 2/3; .7 to 1 see 1/2.
    by_hand = (4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11
    assert metrics.interpolated_average_precision(SCORES, TRUTH) == pytest.approx(by_hand)


def test_average_precision_by_hand():
    assert metrics.average_precision(SCORES, TRUTH) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_a_recall_of_three_tenths_reaches_three_tenths():
    """3 / 10 is a hair below 0.3 in one rounding and above in another."""
    truth = np.array([1, 1, 1] + [0] * 90 + [1] * 7)
    scores = -np.arange(100.0)
    later = (3 + np.arange(1, 8)) / (93 + np.arange(1, 8))
    expected = (4 * 1 + 7 * later.max()) / 11
    assert metrics.interpolated_average_precision(scores, truth) == pytest.approx(expected)


def test_difficult_objects_are_excluded():
    scores, truth = np.append(SCORES, [0.95, 0.3]), np.append(TRUTH, [-1, -1])
    for of_class in (metrics.interpolated_average_precision, metrics.average_precision):
        assert of_class(scores, truth) == of_class(SCORES, TRUTH)


def test_equal_scores_are_one_threshold_whatever_their_order():
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.1])
    truth = np.array([0, 1, 0, 0, 1])
    order = np.random.default_rng(0).permutation(5)
    for of_class in (metrics.interpolated_average_precision, metrics.average_precision):
        assert of_class(scores[order], truth[order]) == of_class(scores, truth)
    assert metrics.average_precision(scores, truth) == pytest.approx((1 / 4 + 2 / 5) / 2)


def test_a_constant_model_has_the_share_of_positives():
    truth = np.array([[1, 0], [0, 0], [0, 1], [0, 1]])
    for metric in ("map11", "map"):
        value = metrics.compute_score(metric, np.ones((4, 2)), truth)
        assert (
            value == pytest.approx(metrics.chance_level(metric, truth, 2)) == pytest.approx(3 / 8)
        )


def test_a_class_without_a_positive_does_not_count():
    truth = np.stack([TRUTH, np.zeros(6, np.int64), np.full(6, -1)], axis=1)
    scores = np.stack([SCORES] * 3, axis=1)
    assert metrics.compute_score("map11", scores, truth) == metrics.interpolated_average_precision(
        SCORES, TRUTH
    )
    assert np.isnan(metrics.class_average_precisions("map11", scores, truth)).tolist() == [
        False,
        True,
        True,
    ]
    assert metrics.chance_level("map11", truth, 3) == 0.5


def test_mean_per_class_by_hand_with_an_empty_class():
    labels = np.array([0, 0, 0, 0, 2])
    assert metrics.mean_per_class(np.array([1, 1, 1, 0, 0.0]), labels) == pytest.approx(3 / 8)
    assert metrics.mean_per_class(np.array([1.0, 0.0]), np.array([3, 3])) == 0.5


def test_correct_counts_ties_at_their_expectation():
    scores = np.array([[0.1, 0.5, 0.5], [0.2, 0.2, 0.2], [1.0, 0.0, 0.0]])
    labels = np.array([1, 0, 2])
    assert metrics.top_k_correct(scores, labels).tolist() == pytest.approx([1 / 2, 1 / 3, 0])
    assert metrics.top_k_correct(scores, labels, 2).tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert metrics.top_k_correct(scores, labels, 9).tolist() == [1, 1, 1]


def test_metrics_are_scikit_learns():
    from sklearn import metrics as peer

    random = np.random.default_rng(6)
    labels = random.integers(0, 7, 300)
    scores = random.normal(size=(300, 7)) + 1.5 * np.eye(7)[labels]
    predicted = scores.argmax(axis=1)
    assert metrics.compute_score("accuracy", scores, labels) == pytest.approx(
        peer.accuracy_score(labels, predicted), abs=1e-12
    )
    assert metrics.compute_score("mean_per_class", scores, labels) == pytest.approx(
        peer.balanced_accuracy_score(labels, predicted), abs=1e-12
    )
    assert metrics.top_k_correct(scores, labels, 5).mean() == pytest.approx(
        peer.top_k_accuracy_score(labels, scores, k=5), abs=1e-12
    )
    several = (random.random((300, 7)) < 0.2).astype(np.int64)
    scores = (scores + several).round(1)  # with ties
    assert metrics.compute_score("map", scores, several) == pytest.approx(
        peer.average_precision_score(several, scores, average="macro"), abs=1e-12
    )


def test_metrics_are_clip_benchmarks_where_the_definitions_agree():
    import torch

    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    random = np.random.default_rng(7)
    scores = random.normal(size=(200, 9))
    several = (random.random((200, 9)) < 0.2).astype(np.int64)
    reference = peer.average_precision_per_class(torch.tensor(scores), torch.tensor(several))
    assert metrics.class_average_precisions("map", scores, several) == pytest.approx(
        reference.numpy(), abs=1e-6
    )
    # They give 0 to a class without a positive, we leave it out; none of theirs is VOC's 11 points.
    several[:, 0] = 0
    reference = peer.average_precision_per_class(torch.tensor(scores), torch.tensor(several))
    assert reference[0] == 0
    assert np.isnan(metrics.class_average_precisions("map", scores, several)[0])
    assert metrics.compute_score("map", scores, several) == pytest.approx(
        float(reference[1:].mean())
    )


def test_f1_is_that_of_wilds():
    """`f1_score(y_true, y_pred, average="macro", labels=torch.unique(y_true))` in its metrics."""
    from sklearn.metrics import f1_score

    random = np.random.default_rng(8)
    for num_classes in (2, 5, 40):
        labels = random.integers(0, max(2, num_classes - 3), 200)  # some classes are predicted only
        prediction = np.where(
            random.random(200) < 0.6, labels, random.integers(0, num_classes, 200)
        )
        expected = f1_score(labels, prediction, average="macro", labels=np.unique(labels))
        assert metrics.f1_macro(prediction, labels) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5])
def test_the_worst_group_is_that_of_wilds(k):
    """Sums of hits by group, divided by its counts; the lowest of the groups that are not empty."""
    random = np.random.default_rng(9)
    labels, groups = random.integers(0, 12, 300), random.choice([0, 1, 2, 5], 300)
    scores = random.normal(size=(300, 12)) + 1.5 * np.eye(12)[labels]
    chosen = np.argsort(-scores, axis=1)[:, :k]
    sums, counts = np.zeros(6), np.zeros(6)
    for row in range(300):
        sums[groups[row]] += labels[row] in chosen[row]
        counts[groups[row]] += 1
    means = metrics.group_means(metrics.top_k_correct(scores, labels, k), groups)
    assert set(means) == {0, 1, 2, 5}
    worst = min(sums[counts > 0] / counts[counts > 0])
    assert min(means.values()) == pytest.approx(worst, abs=1e-12)
    # A group that is left out does not count, whatever its mean.
    left_out = metrics.group_means(np.zeros(300), np.where(groups == 5, -1, groups))
    assert set(left_out) == {0, 1, 2}
