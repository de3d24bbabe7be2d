from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from uniclip.evaluate.scoring import logistic_regression
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression

EXACT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
"""scikit-learn's L-BFGS stops early: at a relative change of 64 machine epsilons in the loss."""


def blobs(n, classes=3, width=5, spread=0.7, seed=0):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = random.integers(0, classes, n)
    return centres[labels] + spread * random.normal(size=(n, width)), labels


def several(n=12):
    return np.random.default_rng(4).integers(-1, 2, (n, 3))


def gradient_at(probe, features, labels, strength):
    theta = np.concatenate([probe.weight, probe.bias[:, None]], axis=1)
    loss, gradient = logistic_regression.loss_and_gradient(
        theta, features.astype(float), labels, strength
    )
    return loss, np.abs(gradient).max()


def test_loss_by_hand():
    theta = np.array([[1.0, 0.0], [-1.0, 0.5]])  # two classes, one feature: weight, bias
    loss, _ = logistic_regression.loss_and_gradient(theta, np.array([[2.0]]), np.array([0]), 0.1)
    assert loss == pytest.approx(np.log1p(np.exp(-1.5 - 2.0)) + 0.05 * 2)


def test_loss_of_several_labels_by_hand():
    theta = np.array([[1.0, 0.0], [-1.0, 0.5], [3.0, 1.0]])
    loss, gradient = logistic_regression.loss_and_gradient(
        theta, np.array([[2.0]]), np.array([[1, 0, -1]]), 0.0
    )
    assert loss == pytest.approx(np.log1p(np.exp(-2)) + np.log1p(np.exp(-1.5)))
    assert gradient[2].tolist() == [0, 0]


@pytest.mark.parametrize("labels", [blobs(12)[1], several()])
@pytest.mark.parametrize("tile", [1, 7, 1 << 19])
def test_gradient_is_that_of_the_loss_in_any_tiles(labels, tile, monkeypatch):
    monkeypatch.setattr(logistic_regression, "LOGITS_PER_TILE", tile)
    features, shape = blobs(12)[0], (3, 6)
    theta = np.random.default_rng(1).normal(size=shape)
    _, gradient = logistic_regression.loss_and_gradient(theta, features, labels, 0.3)
    numeric = approx_fprime(
        theta.ravel(),
        lambda t: logistic_regression.loss_and_gradient(t.reshape(shape), features, labels, 0.3)[0],
        1e-7,
    )
    assert gradient.ravel() == pytest.approx(numeric, abs=1e-5)


def test_large_logits_do_not_overflow():
    theta = np.array([[500.0, 0.0], [-500.0, 0.0]], np.float32)
    rows = np.array([[1.0], [-1.0]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        for labels in (np.array([0, 0]), np.array([[1, 0], [1, 0]])):
            loss, gradient = logistic_regression.loss_and_gradient(theta, rows, labels, 0.0)
            assert loss == pytest.approx(500)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
def test_a_fit_reaches_and_reports_the_gradient_tolerance(strength, tolerance):
    features, labels = blobs(80)
    probe = LogisticRegression(features + 3.0, labels, 3).fit(strength, tolerance=tolerance)
    _, gradient = gradient_at(probe, features + 3.0, labels, strength)
    assert probe.max_gradient <= tolerance
    assert gradient == pytest.approx(probe.max_gradient, abs=max(1e-6, tolerance / 10))
    assert probe.num_evaluations > 0


@pytest.mark.parametrize(("n", "classes", "width"), [(80, 3, 5), (60, 4, 100), (200, 10, 20)])
@pytest.mark.parametrize("strength", [1e-1, 1e-3])
def test_the_optimum_is_scikit_learns(n, classes, width, strength):
    from sklearn import linear_model as sklearn

    features, labels = blobs(n, classes, width, spread=1.5)
    features[:, 0] += 5 * features[:, 1]  # correlated, off centre
    features += 1.0
    peer = sklearn.LogisticRegression(C=1 / (strength * n), **EXACT)
    peer.fit(features, labels)
    fit = LogisticRegression(features, labels, classes).fit(strength, tolerance=1e-9)
    assert fit.max_gradient <= 1e-7
    theta = np.concatenate([peer.coef_, peer.intercept_[:, None]], axis=1)
    peers_loss, _ = logistic_regression.loss_and_gradient(theta, features, labels, strength)
    assert gradient_at(fit, features, labels, strength)[0] <= peers_loss + 1e-13
    assert fit.weight == pytest.approx(peer.coef_, abs=1e-7 / strength)
    assert fit.bias - fit.bias.mean() == pytest.approx(
        peer.intercept_ - peer.intercept_.mean(), abs=1e-7 / strength
    )
    fresh = blobs(500, classes, width, seed=5)[0]
    assert (fit.predict(fresh) == peer.predict(fresh)).all()


def test_two_classes_count_twice():
    """scikit-learn keeps one weight vector for two classes, we two: its C halves."""
    from sklearn import linear_model as sklearn

    features, labels = blobs(60, classes=2, spread=1.5)
    peer = sklearn.LogisticRegression(C=2 / (0.01 * 60), **EXACT)
    peer.fit(features, labels)
    fit = LogisticRegression(features, labels, 2).fit(0.01, tolerance=1e-10)
    assert fit.weight[1] - fit.weight[0] == pytest.approx(peer.coef_[0], abs=1e-6)


def test_several_labels_are_separate_problems():
    from sklearn import linear_model as sklearn

    features = np.random.default_rng(3).normal(size=(120, 6))
    labels = several(120)
    fit = LogisticRegression(features, labels, 3).fit(0.02, tolerance=1e-10)
    for c in range(3):
        counted = labels[:, c] >= 0
        peer = sklearn.LogisticRegression(C=1 / (0.02 * 120), **EXACT)
        peer.fit(features[counted], labels[counted, c])
        assert fit.weight[c] == pytest.approx(peer.coef_[0], abs=1e-6)
        assert fit.bias[c] == pytest.approx(peer.intercept_[0], abs=1e-6)


def test_dead_and_repeated_features():
    features, labels = blobs(60)
    plain = LogisticRegression(features, labels, 3).fit(0.01, tolerance=1e-9)
    padded = np.concatenate([features, np.zeros((60, 2)), np.full((60, 1), 7.0)], axis=1)
    fit = LogisticRegression(padded, labels, 3).fit(0.01, tolerance=1e-9)
    assert fit.weight[:, :5] == pytest.approx(plain.weight, abs=1e-6)
    assert fit.weight[:, 5:] == pytest.approx(np.zeros((3, 3)), abs=1e-9)
    nothing = LogisticRegression(np.ones((60, 2)), labels, 3).fit(0.01)
    assert np.exp(nothing.bias) / np.exp(nothing.bias).sum() == pytest.approx(
        np.bincount(labels) / 60, abs=1e-3
    )


def test_a_class_without_a_sample_is_never_predicted():
    features, labels = blobs(60, classes=2)
    probe = LogisticRegression(features, labels, 3).fit(1e-3)
    assert probe.max_gradient <= logistic_regression.GRADIENT_TOLERANCE
    assert (probe.predict(features) < 2).all()
