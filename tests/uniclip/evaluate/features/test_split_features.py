"""Splits are opened once, and embedded a batch at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip.evaluate.features import decoding, split_features

CONFIG = stub_models.config({"name": "scenes", "num_train": 64, "num_test": 40})


def mean_colours(pixels):
    return pixels.reshape(len(pixels), 3, -1).mean(axis=2)


def test_a_split_is_opened_once():
    first = split_features.open_split_cached(CONFIG.data, "test")
    assert split_features.open_split_cached(CONFIG.data, "test") is first
    assert len(first) == 40


def test_features_do_not_depend_on_batches(monkeypatch):
    split = split_features.open_split_cached(CONFIG.data, "test")
    stub = stub_models.Stub(CONFIG, trunk=mean_colours)
    whole = split_features.compute_image_features(stub, split)
    assert whole == pytest.approx(mean_colours(split.load_pixels(np.arange(40))), rel=1e-6)
    monkeypatch.setattr(split_features, "BATCH_SIZE", 7)
    assert np.array_equal(split_features.compute_image_features(stub, split), whole)
    index = np.array([30, 2, 2])
    chosen = split_features.compute_image_features(stub, split, index)
    assert np.array_equal(chosen, whole[index])


def test_data_workers_give_the_same_features(monkeypatch):
    split = split_features.open_split_cached(CONFIG.data, "test")
    monkeypatch.setattr(type(split), "has_image_files", True)
    monkeypatch.setattr(decoding, "MIN_IMAGES", 2)
    monkeypatch.setattr(split_features, "BATCH_SIZE", 7)
    features = []
    for num_workers in (0, 1, 4):
        runtime = replace(CONFIG.runtime, num_workers=num_workers)
        stub = stub_models.Stub(replace(CONFIG, runtime=runtime), trunk=mean_colours)
        features.append(split_features.compute_image_features(stub, split).tobytes())
    assert len(set(features)) == 1


def test_rows_of_a_diverged_model_are_refused():
    split = split_features.open_split_cached(CONFIG.data, "test")
    stub = stub_models.Stub(CONFIG, lambda pixels, _: np.full((len(pixels), 4), np.nan))
    features = split_features.compute_image_features(stub, split)
    features.flags.writeable = False  # as from a cache
    with pytest.raises(ValueError, match="not finite"):
        split_features.project_features(stub, features)
