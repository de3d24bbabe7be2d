"""A probe that is stopped again and again is the one that was never stopped."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.errors import StopRequested
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.protocols.protocol import LinearProbeConfig
from uniclip.evaluate.scoring import linear_probe, probe_cache
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression
from uniclip.evaluate.scoring.probe_cache import ProbeFitCache


def part(n, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n)
    return LabelledFeatures(np.eye(3)[labels] + random.normal(size=(n, 3)), labels)


TRAIN, VALIDATION = part(70, 0), part(40, 1)


def probed(prepare=linear_probe.build_regression):
    return linear_probe.fit_protocol_probe(
        TRAIN, VALIDATION, 3, LinearProbeConfig(), "accuracy", build_fitter=prepare
    )


def test_the_probe_is_the_same_wherever_it_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(probe_cache, "MIN_CACHED_SECONDS", 0.0)
    plain, patience, stops, longest = probed(), 20, 0, 0
    cached_fitter: list[ProbeFitCache] = []

    def prepare(of, classes):
        left = iter(range(patience))
        problem = LogisticRegression(
            of.features, of.labels, classes, lambda: next(left, None) is None
        )
        cached_fitter.append(ProbeFitCache(problem, Cache(tmp_path), {"of": len(of.labels)}))
        return cached_fitter[-1]

    while True:
        try:
            fits = probed(prepare)
            break
        except StopRequested:
            stops += 1
            files = len(list(tmp_path.rglob("*.npz")))
            assert files > longest, "each time it comes further"
            longest = files
    assert stops > 3
    assert fits.protocol_l2 == plain.protocol_l2
    assert fits.validation_score == plain.validation_score
    assert fits.probe.weight.tobytes() == plain.probe.weight.tobytes()
    assert fits.probe.bias.tobytes() == plain.probe.bias.tobytes()
    assert len(list(tmp_path.rglob("*.npz"))) == 16, "fifteen strengths, and the last on both parts"
    for one in cached_fitter:
        one.remove_cached_fits()
    assert list(tmp_path.rglob("*.npz")) == []


def test_short_fits_are_not_cached(tmp_path):
    problem = LogisticRegression(TRAIN.features, TRAIN.labels, 3)
    ProbeFitCache(problem, Cache(tmp_path), {}).fit(1.0)
    assert list(tmp_path.rglob("*.npz")) == []


def test_another_penalty_start_or_tolerance_is_another_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(probe_cache, "MIN_CACHED_SECONDS", 0.0)
    cached_fitter = ProbeFitCache(
        LogisticRegression(TRAIN.features, TRAIN.labels, 3), Cache(tmp_path), {}
    )
    start = cached_fitter.fit(1.0)
    for words in ((0.1,), (1.0, start), (1.0, None, 1e-6)):
        cached_fitter.fit(*words)
    assert len(list(tmp_path.rglob("*.npz"))) == 4
    assert cached_fitter.fit(1.0).weight == pytest.approx(start.weight, abs=0)
