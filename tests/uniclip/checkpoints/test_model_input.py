"""What a loaded model takes, and what it says of anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.small_models import CAPTIONS, build_small_embedder
from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.checkpoints.model_input import ModelInputError
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.data.text.tokenizer import train_bpe
from uniclip.errors import UserError

CONFIG = tiny(data={"name": "scenes", "image_size": 32})


@pytest.fixture(scope="module")
def model():
    vocabulary = train_bpe(CAPTIONS, 300)
    embedder = build_small_embedder(CONFIG, vocabulary)
    return PretrainedModel(embedder, methods.build_method(CONFIG), vocabulary, CONFIG)


@pytest.fixture(scope="module")
def pixels():
    """Return one image (3, S, S) of the size that the model crops to."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (3, 32, 32), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    return path


FORMS = {
    "path": lambda p, folder: str(write(folder / "a.png", p)),
    "Path": lambda p, folder: write(folder / "a.png", p),
    "PIL": lambda p, folder: Image.fromarray(p.transpose(1, 2, 0)),
    "array": lambda p, folder: p,
    "array (h, w, 3)": lambda p, folder: p.transpose(1, 2, 0),
    "array of one": lambda p, folder: p[None],
    "array (1, h, w, 3)": lambda p, folder: p.transpose(1, 2, 0)[None],
    "tensor": lambda p, folder: torch.from_numpy(p),
    "tensor (h, w, 3)": lambda p, folder: torch.from_numpy(p.transpose(1, 2, 0).copy()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("container", ["single", list, tuple, iter, "mixed"])
def test_an_image_has_one_embedding_in_every_form(
    model, pixels, tmp_path, monkeypatch, form, container
):
    expected = model.embed_images(pixels[None])
    image = FORMS[form](pixels, tmp_path)
    if container == "mixed":
        image = image[0] if getattr(image, "ndim", 0) == 4 else image
        rows = model.embed_images([image, write(tmp_path / "b.png", pixels)])
        expected = np.concatenate([expected, expected])
    elif container == "single":
        rows = model.embed_images(image)
        np.testing.assert_allclose(
            model.compute_image_features(image), model.compute_image_features(pixels[None])
        )
    else:
        if getattr(image, "ndim", 0) == 4:
            image = image[0]
        rows = model.embed_images(container([image]))
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_a_path_may_begin_with_the_home_directory_and_grey_arrays_are_images(
    model, pixels, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a b.png", pixels)
    np.testing.assert_allclose(
        model.embed_images("~/a b.png"), model.embed_images(pixels), atol=1e-6
    )
    np.testing.assert_allclose(
        model.embed_images(pixels[0]), model.embed_images(np.stack([pixels[0]] * 3)), atol=1e-6
    )
    other_sizes = [np.zeros((3, 40, 50), np.uint8), torch.zeros(20, 30, 3, dtype=torch.uint8)]
    assert model.embed_images(other_sizes).shape == (2, model.config.model.embed_dim)
    paths = np.array([str(tmp_path / "a b.png")] * 2)
    assert model.embed_images(paths).shape == (2, model.config.model.embed_dim)
    assert model.embed_images([]).shape == (0, model.config.model.embed_dim)


EXPECTATION = r"^images.*(give one image or a list|pixels are uint8)"
WRONG_IMAGES = {
    "nothing": None,
    "a number": 5,
    "bytes": b"\x89PNG",
    "a mapping": {"image": 1},
    "numbers": [1, 2],
    "a list with None": [None],
    "floats": np.zeros((2, 3, 8, 8), np.float32),
    "a tensor of floats": torch.zeros(3, 8, 8),
    "a list of floats": [np.zeros((3, 8, 8))],
    "whole numbers": np.zeros((3, 8, 8), np.int64),
    "four channels": np.zeros((8, 8, 4), np.uint8),
    "a row": np.zeros(8, np.uint8),
    "five axes": np.zeros((1, 1, 3, 8, 8), np.uint8),
    "no pixel": np.zeros((1, 3, 0, 8), np.uint8),
}


@pytest.mark.parametrize("images", WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_other_images_are_refused_in_one_line(model, images):
    for function in (model.embed_images, model.compute_image_features):
        with pytest.raises(TypeError, match=EXPECTATION) as caught:
            function(images)
        assert isinstance(caught.value, (ModelInputError, ValueError))
        assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(model, pixels, tmp_path):
    good, bad = write(tmp_path / "good.png", pixels), tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad\.jpg cannot be read \(not an image"):
        model.embed_images([good, bad])
    with pytest.raises(UserError, match=r"none\.jpg cannot be read \(there is no such file\)"):
        model.embed_images(str(tmp_path / "none.jpg"))


def test_a_text_is_one_text(model):
    one = model.embed_texts("a red disc")
    assert one.shape == (1, model.config.model.embed_dim)
    for texts in (["a red disc"], ("a red disc",), iter(["a red disc"]), np.array(["a red disc"])):
        np.testing.assert_array_equal(model.embed_texts(texts), one)
    assert model.embed_texts([]).shape == (0, model.config.model.embed_dim)


@pytest.mark.parametrize(
    "texts",
    [None, 5, b"red", {"red": 1}, {"red"}, [1], ["red", None], [["red"]], torch.zeros(3)],
    ids=repr,
)
def test_other_texts_are_refused_in_one_line(model, texts):
    with pytest.raises(TypeError, match=r"^texts.*: give one text or a list of texts"):
        model.embed_texts(texts)


@pytest.mark.parametrize(
    "features", [None, "red", [1.0], np.zeros(3), np.zeros((2, 3)), np.array([["a"]])], ids=repr
)
def test_other_features_are_refused_in_one_line(model, features):
    with pytest.raises(TypeError, match=r"^features is .*: give numbers of shape \(n, "):
        model.project_image(features)


def test_features_may_be_a_tensor(model, pixels):
    features = model.compute_image_features(pixels)
    rows = model.project_image(torch.from_numpy(features))
    np.testing.assert_array_equal(rows, model.project_image(features))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augmentation_params": 3}, "augmentation_params is of type int: give AugmentationParams"),
        ({"vectors": "none"}, "vectors is of type str: give numbers of shape"),
        ({"vectors": np.zeros(4)}, "vectors is an array of float64"),
    ],
)
def test_other_augmentations_are_refused_in_one_line(model, pixels, arguments, message):
    with pytest.raises(TypeError, match=message):
        model.embed_images(pixels, **arguments)
