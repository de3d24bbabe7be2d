from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE, LinearProbeConfig
from uniclip.evaluate.scoring import linear_probe
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression

EXACT = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
"""scikit-learn's L-BFGS stops early: at a relative change of 64 machine epsilons in the loss."""


def blobs(n, classes=3, width=5, spread=0.7, seed=0):
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    labels = random.integers(0, classes, n)
    return LabelledFeatures(centres[labels] + spread * random.normal(size=(n, width)), labels)


def accuracy_on(part):
    return lambda probe: (probe.predict(part.features) == part.labels).mean()


def test_warm_start_and_cold_start_agree():
    part = blobs(80)
    start = linear_probe.fit_probe(part, 3, 1.0)
    warm = linear_probe.fit_probe(part, 3, 0.01, start, tolerance=1e-8)
    cold = linear_probe.fit_probe(part, 3, 0.01, tolerance=1e-8)
    assert warm.weight == pytest.approx(cold.weight, abs=1e-4)


def test_the_penalty_is_selected_on_validation():
    # Few noisy samples: the weak end of the path learns them by heart and validates worse.
    noisy = blobs(30, width=40, spread=3.0, seed=3)
    held_out = blobs(400, width=40, spread=3.0, seed=4)
    problem = LogisticRegression(noisy.features, noisy.labels, 3)
    chosen, score = linear_probe.search_path(problem, accuracy_on(held_out), l2_values=(1e-6, 1.0))
    alternatives = [linear_probe.fit_probe(noisy, 3, s) for s in (1e-6, 1.0)]
    accuracies = [(p.predict(held_out.features) == held_out.labels).mean() for p in alternatives]
    assert accuracies[1] > accuracies[0]
    assert chosen.l2 == 1.0
    assert score == accuracies[1]


def test_separable_data_are_learnt_at_any_scale_of_features():
    parts = [blobs(n, spread=0.1, seed=n) for n in (60, 30, 50)]
    predicted, probe = linear_probe.fit_and_predict(*parts, num_classes=3)
    assert (predicted == parts[2].labels).all()
    assert probe.max_gradient <= GRADIENT_TOLERANCE
    factor = np.array([1e-3, 1.0, 1e3, 10.0, 0.0])
    scaled = [LabelledFeatures(p.features * factor, p.labels) for p in parts]
    assert (linear_probe.fit_and_predict(*scaled, num_classes=3)[0] == parts[2].labels).mean() > 0.9


def test_random_labels_are_not_predicted():
    random = np.random.default_rng(5)
    parts = [
        LabelledFeatures(random.normal(size=(n, 8)), random.integers(0, 4, n))
        for n in (300, 100, 1000)
    ]
    predicted, _ = linear_probe.fit_and_predict(*parts, num_classes=4)
    assert (predicted == parts[2].labels).mean() == pytest.approx(0.25, abs=0.06)


def test_a_class_that_training_lacks():
    parts = [blobs(n, classes=2, seed=n) for n in (60, 30, 20)]
    predicted, probe = linear_probe.fit_and_predict(*parts, num_classes=3)
    assert (predicted < 2).all()
    assert np.isfinite(probe.weight).all()


def test_the_search_visits_what_radford_et_al_visit():
    """Seven strengths two decades apart, then two at half the distance, four times."""
    part = blobs(40)
    problem, visited = LogisticRegression(part.features, part.labels, 3), []
    fit = problem.fit
    problem.fit = lambda strength, *rest: visited.append(strength) or fit(strength, *rest)
    unit = 1 / 40
    peak = 10**0.6  # of the strength beside the sum of losses
    probe, score = linear_probe.search_grid(
        problem, lambda p: -abs(np.log10(p.l2 / unit / peak)), LinearProbeConfig(), unit
    )
    exponents = [round(float(np.log10(v / unit)), 6) for v in visited]
    assert exponents[:7] == [6, 4, 2, 0, -2, -4, -6]
    assert exponents[7:] == [1, -1, 1.5, 0.5, 0.75, 0.25, 0.625, 0.375]
    assert probe.l2 == pytest.approx(10**0.625 * unit)
    assert score == pytest.approx(-0.025)


def test_the_stronger_of_a_tie_and_the_ends_of_the_grid():
    part = blobs(40)
    problem = LogisticRegression(part.features, part.labels, 3)
    tie, _ = linear_probe.search_grid(problem, lambda p: 0.5, LinearProbeConfig(), 1.0)
    assert tie.l2 == pytest.approx(1e6)
    weakest, _ = linear_probe.search_grid(problem, lambda p: -p.l2, LinearProbeConfig(), 1.0)
    assert weakest.l2 == pytest.approx(1e-6)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_a_protocols_probe_is_scikit_learns_at_its_strength(factor):
    from sklearn import linear_model as sklearn

    train, validation = blobs(60, spread=2.0), blobs(30, spread=2.0, seed=1)
    train, validation = (
        LabelledFeatures(p.features * factor, p.labels) for p in (train, validation)
    )
    settings = LinearProbeConfig(tolerance=1e-9)
    probe_result = linear_probe.fit_protocol_probe(train, validation, 3, settings, "accuracy")
    both = np.concatenate([train.features, validation.features])
    labels = np.concatenate([train.labels, validation.labels])
    # scikit-learn's C is one over the strength beside the sum of the losses; it is badly
    # conditioned where features are tiny or huge, so its problem is put at scale one.
    peer = sklearn.LogisticRegression(C=factor**2 / probe_result.protocol_l2, **EXACT)
    peer.fit(both / factor, labels)
    weight = probe_result.probe.weight * factor
    assert weight == pytest.approx(peer.coef_, abs=1e-5 * np.abs(peer.coef_).max())
    fresh = blobs(200, spread=2.0, seed=2).features
    assert (probe_result.probe.predict(fresh * factor) == peer.predict(fresh)).all()


def test_l2_normalized_features_ignore_lengths():
    settings = LinearProbeConfig("embedding", "l2_normalized")
    train, validation = blobs(60), blobs(30, seed=1)
    long = np.random.default_rng(7).uniform(0.1, 10, (60, 1))
    stretched = LabelledFeatures(train.features * long, train.labels)
    one, other = (
        linear_probe.fit_protocol_probe(part, validation, 3, settings, "mean_per_class")
        for part in (train, stretched)
    )
    assert one.protocol_l2 == other.protocol_l2
    assert one.probe.weight == pytest.approx(other.probe.weight, rel=1e-3, abs=1e-4)
    assert linear_probe.scale_features(np.zeros((1, 3)), settings).tolist() == [[0, 0, 0]]


def test_several_labels_an_image_some_excluded():
    random = np.random.default_rng(8)
    features = random.normal(size=(90, 4))
    labels = (features[:, :3] > 0).astype(np.int64)
    labels[random.random(labels.shape) < 0.2] = -1
    train, validation = (
        LabelledFeatures(features[:60], labels[:60]),
        LabelledFeatures(features[60:], labels[60:]),
    )
    probe_result = linear_probe.fit_protocol_probe(
        train, validation, 3, LinearProbeConfig(), "map11"
    )
    assert probe_result.validation_score > 0.95
    assert probe_result.probe.weight.shape == (3, 4)
