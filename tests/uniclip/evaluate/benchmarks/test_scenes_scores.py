"""Scores of scenes, from embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.scene_oracles import DATA, encode_captions, evaluate_stub, one_hot, read_truth
from uniclip.evaluate.benchmarks import scenes_scores


@pytest.fixture(scope="module")
def truth():
    return read_truth()


def test_calibration_is_that_of_the_nearest_of_all_captions(truth):
    """One picture in two names another side, with the odds that the scale gives to cosines: six
    attributes agree or five do, and all captions of the grid compete."""
    shown = truth.copy()
    shown[::2, -1] ^= 1
    stub = stub_models.Stub(
        stub_models.config(DATA), lambda pixels, vectors: one_hot(shown), encode_captions
    )
    stub.image_text_scale = lambda: 3.0
    grid = (
        np.indices(scenes_scores.ATTRIBUTE_SIZES).reshape(len(scenes_scores.ATTRIBUTE_SIZES), -1).T
    )
    odds = np.exp(3.0 * (grid == grid[0]).mean(axis=1))
    value = stub_models.values(evaluate_stub(stub)[0])
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
    value = stub_models.values(evaluate_stub(stub)[0])
    one, other = shown[-2:]
    assert (one != other).any()
    assert value["retrieval.instance.r1"] > 0.9


def test_modality_gap_by_hand():
    images, texts = np.array([[1.0, 0], [0, 1]]), np.array([[0.0, -1], [0, -1]])
    assert scenes_scores.compute_modality_gap(images, texts) == pytest.approx(np.hypot(0.5, 1.5))
