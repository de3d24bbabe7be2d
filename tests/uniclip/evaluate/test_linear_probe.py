from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from uniclip.evaluate import linear_probe
from uniclip.evaluate.linear_probe import Part


def blobs(n, classes=3, width=5, spread=0.7, seed=0):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = random.integers(0, classes, n)
    return Part(centres[labels] + spread * random.normal(size=(n, width)), labels)


def test_gradient_is_that_of_the_loss():
    part = blobs(12)
    arguments = part.features, np.eye(3)[part.labels], 0.3
    theta = np.random.default_rng(1).normal(size=18)
    _, gradient = linear_probe.objective(theta, *arguments)
    numeric = approx_fprime(theta, lambda t: linear_probe.objective(t, *arguments)[0], 1e-7)
    assert gradient == pytest.approx(numeric, abs=1e-5)


def test_loss_by_hand():
    theta = np.array([1.0, 0.0, -1.0, 0.5])  # two classes, one feature: weight, bias
    features, targets = np.array([[2.0]]), np.array([[1.0, 0.0]])
    loss, _ = linear_probe.objective(theta, features, targets, 0.1)
    assert loss == pytest.approx(np.log1p(np.exp(-1.5 - 2.0)) + 0.05 * 2)


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_fit_reaches_the_stated_gradient_and_the_reference(strength):
    part = blobs(80)
    probe = linear_probe.fit(part, 3, strength)
    theta = np.concatenate([probe.weight, probe.bias[:, None]], axis=1).ravel()
    arguments = part.features, np.eye(3)[part.labels], strength
    loss, gradient = linear_probe.objective(theta, *arguments)
    assert np.abs(gradient).max() <= linear_probe.TOLERANCE
    reference = minimize(
        lambda t: linear_probe.objective(t, *arguments)[0], np.zeros(18), method="BFGS"
    )
    assert loss == pytest.approx(reference.fun, rel=1e-3)


def test_warm_start_and_cold_start_agree():
    part = blobs(80)
    start = linear_probe.fit(part, 3, 1.0)
    warm = linear_probe.fit(part, 3, 0.01, start, tolerance=1e-8)
    cold = linear_probe.fit(part, 3, 0.01, tolerance=1e-8)
    assert warm.weight == pytest.approx(cold.weight, abs=1e-4)


def test_strength_is_chosen_on_validation():
    # Few noisy samples: the weak end of the path learns them by heart and validates worse.
    noisy = blobs(30, width=40, spread=3.0, seed=3)
    held_out = blobs(400, width=40, spread=3.0, seed=4)
    chosen = linear_probe.select(noisy, held_out, 3, strengths=(1e-6, 1.0))
    alternatives = [linear_probe.fit(noisy, 3, s) for s in (1e-6, 1.0)]
    accuracies = [(p.predict(held_out.features) == held_out.labels).mean() for p in alternatives]
    assert accuracies[1] > accuracies[0]
    assert chosen.strength == 1.0


def test_separable_data_are_learnt_and_the_scale_of_features_is_nothing():
    parts = [blobs(n, spread=0.1, seed=n) for n in (60, 30, 50)]
    predicted, probe = linear_probe.linear_probe(*parts, classes=3)
    assert (predicted == parts[2].labels).all()
    assert probe.gradient <= linear_probe.TOLERANCE
    factor = np.array([1e-3, 1.0, 1e3, 10.0, 0.0])
    scaled = [Part(p.features * factor, p.labels) for p in parts]
    assert (linear_probe.linear_probe(*scaled, classes=3)[0] == parts[2].labels).mean() > 0.9


def test_random_labels_are_not_predicted():
    random = np.random.default_rng(5)
    parts = [Part(random.normal(size=(n, 8)), random.integers(0, 4, n)) for n in (300, 100, 1000)]
    predicted, _ = linear_probe.linear_probe(*parts, classes=4)
    assert (predicted == parts[2].labels).mean() == pytest.approx(0.25, abs=0.06)


def test_a_class_that_training_lacks():
    parts = [blobs(n, classes=2, seed=n) for n in (60, 30, 20)]
    predicted, probe = linear_probe.linear_probe(*parts, classes=3)
    assert (predicted < 2).all()
    assert np.isfinite(probe.weight).all()
