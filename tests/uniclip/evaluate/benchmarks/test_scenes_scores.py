"""Scores of scenes, from embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import data, evaluate
from uniclip.data.scenes.attributes import ATTRIBUTES
from uniclip.evaluate.benchmarks import scenes_scores

N = 96


DATA = {"name": "scenes", "num_train": 64, "num_test": N}


@pytest.fixture(scope="module")
def truth():
    test = data.open_split(stub_models.config(DATA).data, "test")
    return np.stack([test.labels[name] for name in ATTRIBUTES], axis=1)


def spoken(texts):
    """The attributes that captions name, one-hot, (n, 20)."""
    place = {caption: i for i, caption in enumerate(scenes_scores.list_captions())}
    rows = np.array(np.unravel_index([place[t] for t in texts], scenes_scores.ATTRIBUTE_SIZES)).T
    return one_hot(rows)


def one_hot(rows):
    return np.concatenate(
        [np.eye(n)[rows[:, i]] for i, n in enumerate(scenes_scores.ATTRIBUTE_SIZES)], axis=1
    )


def evaluated(stub):
    return evaluate.evaluate("scenes", stub, stub.config)


def test_calibration_is_that_of_the_nearest_of_all_captions(truth):
    """One picture in two names another side, with the odds that the scale gives to cosines: six
    attributes agree or five do, and all captions of the grid compete."""
    shown = truth.copy()
    shown[::2, -1] ^= 1
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, vectors: one_hot(shown), spoken
    )
    stub.image_text_scale = lambda: 3.0
    grid = (
        np.indices(scenes_scores.ATTRIBUTE_SIZES).reshape(len(scenes_scores.ATTRIBUTE_SIZES), -1).T
    )
    odds = np.exp(3.0 * (grid == grid[0]).mean(axis=1))
    value = stub_models.values(evaluated(stub)[0])
    assert value["caption.ece"] == pytest.approx(abs(0.5 - odds[0] / odds.sum()))


def test_instances_are_views_of_one_image(truth):
    shown = []

    def images(pixels, vectors):
        shown.append(pixels)
        return pixels.reshape(len(pixels), -1).astype(float) - pixels.mean()

    texts = np.random.default_rng(0).normal(
        size=(int(np.prod(scenes_scores.ATTRIBUTE_SIZES)), 3 * 32 * 32)
    )
    stub = stub_models.Stub(
        stub_models.config(DATA), images, lambda captions: texts[: len(captions)]
    )
    value = stub_models.values(evaluated(stub)[0])
    one, other = shown[-2:]
    assert (one != other).any()
    assert value["retrieval.instance.r1"] > 0.9


def test_modality_gap_by_hand():
    images, texts = np.array([[1.0, 0], [0, 1]]), np.array([[0.0, -1], [0, -1]])
    assert scenes_scores.compute_modality_gap(images, texts) == pytest.approx(np.hypot(0.5, 1.5))
