from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.errors import UserError
from uniclip.evaluate.features import split_features
from uniclip.evaluate.scoring import validation

SCENES = {"name": "scenes", "num_train": 64, "num_test": 700}


def oracle(config):
    """Pictures to the direction of their captions."""
    split = split_features.open_split_cached(config.data, "validation")
    pixels = split.load_pixels(np.arange(len(split)))
    captions = {p.tobytes(): c[0] for p, c in zip(pixels, split.captions)}

    def images(pixels, vectors):
        return stub_models.word_vectors([captions[p.tobytes()] for p in pixels])

    return stub_models.Stub(config, images, stub_models.word_vectors)


def test_oracle_and_constant_model():
    config = stub_models.config(SCENES)
    assert evaluate.validate(oracle(config), config.data) == 1
    assert evaluate.validate(stub_models.Stub(config), config.data) < 0.02


def test_at_most_512_validation_images_and_no_test_image(monkeypatch):
    config = stub_models.config({**SCENES, "num_test": 701})
    opened, parts, shown = split_features.open_split_cached, [], []

    def watched(source, part):
        parts.append(part)
        return opened(source, part)

    def images(pixels, vectors):
        shown.append(pixels.copy())
        return np.ones((len(pixels), 4))

    monkeypatch.setattr(split_features, "open_split_cached", watched)
    stub = stub_models.Stub(config, images)
    first, second = (evaluate.validate(stub, config.data) for _ in range(2))
    assert parts == ["validation"]  # prepared once
    assert len(shown[0]) == 512
    assert (shown[0] == shown[1]).all()
    assert first == second


def test_images_have_the_size_of_the_model():
    config = stub_models.config(SCENES, model={"image": {"image_size": 16}})
    pixels, _ = validation._load_images(config.data, config.model.image.image_size, "")
    assert pixels.shape == (512, 3, 16, 16)


def test_torch_generator_is_not_touched():
    import torch

    config = stub_models.config(SCENES)
    stub = oracle(config)
    before = torch.get_rng_state()
    evaluate.validate(stub, config.data)
    assert (torch.get_rng_state() == before).all()


def test_no_validation_images_is_one_error_line(tmp_path):
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "own.csv").write_text("picture,caption\na.png,a thing\n")
    section = {"name": "csv", "path": str(tmp_path / "own.csv"), "validation_fraction": 0.001}
    config = stub_models.config(section)
    with pytest.raises(UserError, match="no validation images"):
        evaluate.validate(stub_models.Stub(config), config.data)
