"""Inference: inputs of many shapes, and no effect on the mode of the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.small_models import CAPTIONS, build_small_embedder
from tests.helpers.small_runs import tiny
from uniclip import methods, rng
from uniclip.augmentation import apply, transform
from uniclip.checkpoints import pretrained
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError

CONFIG = tiny(data={"name": "scenes", "image_size": 32})


@pytest.fixture(scope="module")
def model():
    vocabulary = train_bpe(CAPTIONS, 300)
    embedder = build_small_embedder(CONFIG, vocabulary)
    return PretrainedModel(embedder, methods.build_method(CONFIG), vocabulary, CONFIG)


def make_images(n=6, side=32):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (n, 3, side, side), dtype=np.uint8)


def sample_strong(n):
    return transform.sample_strong(rng.derive_key(0, "test"), np.arange(n, dtype=np.uint64), 0.0)


def assert_unit(rows, n):
    assert isinstance(rows, np.ndarray)
    assert rows.dtype == np.float32
    assert rows.shape == (n, CONFIG.model.embed_dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("n", [0, 1, 6])
def test_embeddings_are_normalized_float32(model, n):
    assert_unit(model.embed_images(make_images()[:n]), n)
    assert_unit(model.embed_texts((CAPTIONS * 2)[:n]), n)
    assert model.compute_image_features(make_images()[:n]).shape == (
        n,
        model.embedder.image_encoder.num_features,
    )


def test_embeddings_in_bfloat16_are_unit_rows_near_those_in_float32(model):
    images, in_bfloat16 = make_images(), model.in_bfloat16()
    before = model.embed_images(images)
    assert (model.precision, in_bfloat16.precision) == ("fp32", "bf16")
    for name, inputs in (("embed_images", images), ("embed_texts", CAPTIONS)):
        rows, exact = (getattr(m, name)(inputs) for m in (in_bfloat16, model))
        assert_unit(rows, len(inputs))
        assert 1e-5 < np.abs(rows - exact).max() < 0.05, "8 bits of mantissa"
    features = in_bfloat16.compute_image_features(images)
    assert not np.array_equal(features, model.compute_image_features(images))
    np.testing.assert_allclose(
        in_bfloat16.project_image(features), in_bfloat16.embed_images(images), atol=1e-6
    )
    assert np.array_equal(model.embed_images(images), before), "the model itself is as it was"


def test_the_default_is_the_evaluation_transform(model):
    images = make_images(side=40)
    evaluation = transform.build_evaluation_params(len(images))
    rows = model.embed_images(images)
    assert np.array_equal(rows, model.embed_images(images, evaluation))
    assert np.array_equal(
        rows, model.embed_images(images, None, transform.encode_as_vector(evaluation))
    )
    pixels = torch.from_numpy(
        apply.apply_augmentation(images, evaluation, CONFIG.model.image.image_size)
    )
    with torch.no_grad():
        model.embedder.eval()
        expected = model.embedder.encode_image(pixels, torch.zeros(6, transform.VECTOR_DIM)).numpy()
        features = model.embedder.compute_image_features(pixels).numpy()
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(model.compute_image_features(images), features, atol=1e-6)


def test_parameters_are_applied_and_encoded_unless_vectors_are_passed(model):
    images, params = make_images(), sample_strong(6)
    rows = model.embed_images(images, params)
    assert np.array_equal(
        rows, model.embed_images(images, params, transform.encode_as_vector(params))
    )
    without_vectors = model.embed_images(
        images, params, np.zeros((6, transform.VECTOR_DIM), np.float32)
    )
    assert np.abs(rows - without_vectors).max() > 1e-3
    assert np.abs(rows - model.embed_images(images)).max() > 1e-3


def test_many_images_are_embedded_in_batches(model, monkeypatch):
    images, params = make_images(), sample_strong(6)
    rows = model.embed_images(images, params)
    texts = model.embed_texts(CAPTIONS)
    monkeypatch.setattr(pretrained, "BATCH_SIZE", 2)
    np.testing.assert_allclose(model.embed_images(images, params), rows, atol=1e-5)
    np.testing.assert_allclose(model.embed_texts(CAPTIONS), texts, atol=1e-5)


def test_pil_images_are_center_cropped_on_white(model):
    square = make_images(1)[0].transpose(1, 2, 0)
    same = Image.fromarray(square)
    wide = Image.fromarray(np.pad(square, ((0, 0), (10, 10), (0, 0))))
    large = Image.fromarray(np.full((100, 70, 3), 9, np.uint8))
    rows = model.embed_images([same, wide, large])
    assert_unit(rows, 3)
    expected = model.embed_images(make_images(1))[0]
    np.testing.assert_allclose(rows[:2], np.stack([expected] * 2), atol=1e-5)
    transparent = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    palette = Image.new("P", (50, 50))
    white, black = Image.new("RGB", (50, 50), "white"), Image.new("L", (50, 50))
    rows = model.embed_images([transparent, white, palette, black])
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)
    np.testing.assert_allclose(rows[2], rows[3], atol=1e-6)
    assert np.abs(rows[0] - rows[3]).max() > 1e-3


def test_the_mode_and_gradients_are_not_changed(model):
    for training in (True, False):
        model.embedder.train(training)
        model.embed_images(make_images(2))
        model.embed_texts(CAPTIONS)
        assert model.embedder.training is training
        assert model.embedder.image_encoder.training is training
    model.embedder.image_encoder.train()  # a part of it alone, as in fine-tuning
    modes = []
    encode, encoder = model.embedder.image_encoder.forward, model.embedder.image_encoder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "forward", lambda *a: modes.append(encoder.training) or encode(*a))
        model.embed_images(make_images(2))
    assert modes == [False]
    assert all(p.grad is None for p in model.embedder.parameters())
    assert model.image_text_scale() == pytest.approx(1 / 0.07, rel=1e-5)


REFUSED = [
    dict(images=make_images().astype(np.float32)),
    dict(images=make_images()[:, :2]),
    dict(images=make_images(), augmentation_params=sample_strong(5)),
    dict(images=make_images(), vectors=np.zeros((6, 2), np.float32)),
    dict(images=make_images(), vectors=np.zeros((5, transform.VECTOR_DIM), np.float32)),
]


@pytest.mark.parametrize("arguments", REFUSED, ids=range(len(REFUSED)))
def test_inputs_of_different_lengths_or_types_are_refused(model, arguments):
    with pytest.raises(UserError):
        model.embed_images(**arguments)


def test_projected_features_are_the_embeddings(model):
    images = make_images()
    np.testing.assert_array_equal(
        model.project_image(model.compute_image_features(images)), model.embed_images(images)
    )
