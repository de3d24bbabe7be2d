"""A model in use: pictures and texts in many shapes, and the modes that it leaves behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.small_models import CAPTIONS, build_small_embedder
from tests.helpers.small_runs import tiny
from uniclip import methods, rng
from uniclip.augmentation import apply, transform
from uniclip.checkpoints import pretrained as module
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text import tokenizer as tokenizers
from uniclip.errors import UserError

CONFIG = tiny(data={"name": "scenes", "image_size": 32})


@pytest.fixture(scope="module")
def model():
    vocabulary = tokenizers.train_bpe(CAPTIONS, 300)
    embedder = build_small_embedder(CONFIG, vocabulary)
    return PretrainedModel(embedder, methods.build_method(CONFIG), vocabulary, CONFIG)


def canvases(n=6, side=32):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def strong(n):
    return transform.sample_strong(rng.derive_key(0, "test"), np.arange(n, dtype=np.uint64), 0.0)


def assert_unit(rows, n):
    assert isinstance(rows, np.ndarray)
    assert rows.dtype == np.float32
    assert rows.shape == (n, CONFIG.model.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 6])
def test_rows_are_unit_float32_arrays(model, n):
    assert_unit(model.embed_images(canvases()[:n]), n)
    assert_unit(model.embed_texts((CAPTIONS * 2)[:n]), n)
    assert model.compute_image_features(canvases()[:n]).shape == (
        n,
        model.embedder.image_encoder.num_features,
    )


def test_by_default_pictures_are_seen_through_the_evaluation_transform(model):
    pictures = canvases(side=40)
    evaluation = transform.build_evaluation_params(len(pictures))
    rows = model.embed_images(pictures)
    assert np.array_equal(rows, model.embed_images(pictures, evaluation))
    assert np.array_equal(
        rows, model.embed_images(pictures, None, transform.encode_as_vector(evaluation))
    )
    pixels = torch.from_numpy(
        apply.apply_augmentation(pictures, evaluation, CONFIG.model.image.image_size)
    )
    with torch.no_grad():
        model.embedder.eval()
        expected = model.embedder.encode_image(pixels, torch.zeros(6, transform.VECTOR_DIM)).numpy()
        features = model.embedder.compute_image_features(pixels).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(model.compute_image_features(pictures), features, atol=1e-6)


def test_transforms_act_and_are_described_unless_vectors_are_given(model):
    pictures, params = canvases(), strong(6)
    rows = model.embed_images(pictures, params)
    assert np.array_equal(
        rows, model.embed_images(pictures, params, transform.encode_as_vector(params))
    )
    told_nothing = model.embed_images(
        pictures, params, np.zeros((6, transform.VECTOR_DIM), np.float32)
    )
    assert np.abs(rows - told_nothing).max() > 1e-3
    assert np.abs(rows - model.embed_images(pictures)).max() > 1e-3


def test_many_pictures_are_embedded_in_batches(model, monkeypatch):
    pictures, params = canvases(), strong(6)
    rows = model.embed_images(pictures, params)
    texts = model.embed_texts(CAPTIONS)
    monkeypatch.setattr(module, "BATCH_SIZE", 2)
    np.testing.assert_allclose(model.embed_images(pictures, params), rows, atol=1e-5)
    np.testing.assert_allclose(model.embed_texts(CAPTIONS), texts, atol=1e-5)


def test_pil_images_are_squared_to_the_canvas_and_seen_on_white(model):
    square = canvases(1)[0].transpose(1, 2, 0)
    same = Image.fromarray(square)
    wide = Image.fromarray(np.pad(square, ((0, 0), (10, 10), (0, 0))))
    large = Image.fromarray(np.full((100, 70, 3), 9, np.uint8))
    rows = model.embed_images([same, wide, large])
    assert_unit(rows, 3)
    expected = model.embed_images(canvases(1))[0]
    np.testing.assert_allclose(rows[:2], np.stack([expected] * 2), atol=1e-5)
    see_through = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    palette = Image.new("P", (50, 50))
    white, black = Image.new("RGB", (50, 50), "white"), Image.new("L", (50, 50))
    rows = model.embed_images([see_through, white, palette, black])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    np.testing.assert_allclose(rows[2], rows[3], atol=1e-6)
    assert np.abs(rows[0] - rows[3]).max() > 1e-3


def test_training_goes_on_as_before(model):
    for training in (True, False):
        model.embedder.train(training)
        model.embed_images(canvases(2))
        model.embed_texts(CAPTIONS)
        assert model.embedder.training is training
        assert model.embedder.image_encoder.training is training
    assert all(p.grad is None for p in model.embedder.parameters())
    assert model.image_text_scale() == pytest.approx(1 / 0.07, rel=1e-5)


REFUSED = [
    dict(images=canvases().astype(np.float32)),
    dict(images=canvases().transpose(0, 2, 3, 1)),
    dict(images=canvases()[0]),
    dict(images=canvases(), augmentation_params=strong(5)),
    dict(images=canvases(), vectors=np.zeros((6, 2), np.float32)),
    dict(images=canvases(), vectors=np.zeros((5, transform.VECTOR_DIM), np.float32)),
]


@pytest.mark.parametrize("given", REFUSED, ids=range(len(REFUSED)))
def test_pictures_that_do_not_fit_are_refused(model, given):
    with pytest.raises(UserError):
        model.embed_images(**given)


def test_projected_features_are_the_embeddings(model):
    pictures = canvases()
    np.testing.assert_array_equal(
        model.project_image(model.compute_image_features(pictures)), model.embed_images(pictures)
    )
