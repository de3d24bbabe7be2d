from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import data
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import MIN_TEMPERATURE_IMAGES
from uniclip.evaluate.scoring import log_likelihood, retrieval, temperature

CONFIG = stub_models.config({"name": "scenes", "num_train": 64, "num_test": 90})


def see(pixels, vectors=None):
    return pixels.reshape(len(pixels), -1)[:, ::48].astype(float)


def read(texts):
    return stub_models.word_vectors(texts) + 0.1


def test_it_is_fitted_on_validation_images_alone(monkeypatch):
    opened, parts = split_features.open_split_cached, []

    def watched(source, part):
        parts.append(part)
        return opened(source, part)

    monkeypatch.setattr(split_features, "open_split_cached", watched)
    stub = stub_models.Stub(CONFIG, see, read)
    fitted = temperature.fit_validation_temperature(stub, CONFIG.data)
    assert parts == ["validation"]
    validation = data.open_split(CONFIG.data, "validation")
    pairs = retrieval.build_image_text_pairs(validation.captions)
    images = stub_models.unit(see(validation.load_pixels(np.arange(len(validation)))))
    assert fitted == pytest.approx(
        log_likelihood.fit_temperature(images, stub_models.unit(read(pairs.texts)), pairs)
    )


def test_at_most_so_many_images_in_order_and_always_the_same():
    few, many = temperature.select_images(30), temperature.select_images(5000)
    assert few.tolist() == list(range(30))
    assert len(many) == temperature.MAX_TEMPERATURE_IMAGES
    assert (np.diff(many) > 0).all()
    assert many.tolist() == temperature.select_images(5000).tolist()


@pytest.mark.parametrize("num_images", [0, MIN_TEMPERATURE_IMAGES - 1])
def test_none_with_too_few_validation_images(monkeypatch, num_images):
    empty = data.open_split(CONFIG.data, "validation")
    monkeypatch.setattr(type(empty), "__len__", lambda self: num_images)
    monkeypatch.setattr(split_features, "open_split_cached", lambda source, part: empty)
    stub = stub_models.Stub(CONFIG, see, read)
    assert temperature.fit_validation_temperature(stub, CONFIG.data) is None
