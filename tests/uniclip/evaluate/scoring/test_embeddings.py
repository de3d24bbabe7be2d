"""A picture goes in as torchvision would prepare it, and texts come out in their order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from tests.helpers import stub_models
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.features import decoding
from uniclip.evaluate.protocols.protocol import Preprocessing
from uniclip.evaluate.scoring import embeddings, temperature
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.published import DatasetScorer, DatasetSplits

SIZES = [(50, 50), (224, 224), (333, 500), (500, 333), (31, 97), (101, 33), (640, 427), (225, 224)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [32, 224])
def test_preprocessing_equals_torchvision_to_the_bit(interpolation, side):
    random = np.random.default_rng(0)
    torchvision_transform = v2.Compose(
        [v2.Resize(side, v2.InterpolationMode(interpolation)), v2.CenterCrop(side), np.asarray]
    )
    for width, height in SIZES:
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        preprocessed = embeddings.preprocess_image(picture, Preprocessing(interpolation), side)
        assert preprocessed.shape == (3, side, side)
        assert np.array_equal(preprocessed, torchvision_transform(picture).transpose(2, 0, 1)), (
            width,
            height,
        )


def test_texts_are_embedded_once_shortest_first_and_returned_in_order(tmp_path):
    embedded = []

    def embed(texts):
        embedded.extend(texts)
        return [[len(t), ord(t[0])] for t in texts]

    model = stub_models.Stub(stub_models.config({"name": "scenes"}), texts=embed)
    texts = ["a long caption", "b", "mid"]
    for _ in range(2):
        rows = CachedEncoder(model, Cache(tmp_path, "w")).embed_texts(texts)
        assert rows == pytest.approx(stub_models.unit([[14, 97], [1, 98], [3, 109]]))
    assert embedded == ["b", "mid", "a long caption"]
    other = CachedEncoder(model, Cache(tmp_path, "another model"))
    other.build_classifier([texts, ["b"]])
    other.build_classifier([texts, ["b"]])
    assert len(embedded) == 6
    other.build_classifier([["b"], texts])
    assert len(embedded) == 9


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (2, 150), (199, 2)])
def test_an_image_of_any_shape_is_preprocessed(size):
    image = Image.new("RGB", size, (9, 8, 7))
    pixels = embeddings.preprocess_image(image, Preprocessing(), 32)
    assert pixels.shape == (3, 32, 32)
    assert (pixels == np.array([9, 8, 7], np.uint8)[:, None, None]).all()


class CountingReader:
    """Decodes images of one colour, and remembers which."""

    def __init__(self):
        self.loaded = []

    def __call__(self, i):
        """Image `i`."""
        self.loaded.append(i)
        return Image.new("RGB", (32, 32), (i, 0, 0))


def make_validation_split(num_images):
    captions = tuple((f"number {i}",) for i in range(num_images))
    return ImageDataset(
        name="set", split="validation", kind="retrieval", metric="recall", reader=CountingReader(),
        ids=tuple(map(str, range(num_images))), captions=captions,
    )  # fmt: skip


def make_encoder(folder, num_workers=0):
    """A model whose feature of an image is its red."""
    red = lambda pixels: np.repeat(pixels[:, 0, :1, 0], 2, axis=1)  # noqa: E731
    model = stub_models.Stub(stub_models.config({"name": "scenes"}), trunk=red)
    return CachedEncoder(model, Cache(folder, "w"), num_workers=num_workers)


def test_workers_give_the_same_features(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "MIN_IMAGES", 2)
    monkeypatch.setattr("uniclip.evaluate.cache.EMBED_BATCH_SIZE", 4)
    split, preprocessing = make_validation_split(19), Preprocessing("bicubic")
    rows = np.array([3, 5, 17, 2, 11, 7, 8, 18, 0])
    for chosen in (None, rows):
        expected = make_encoder(tmp_path / "0").compute_image_features(
            {}, split, preprocessing, chosen
        )
        num_loaded = len(split.reader.loaded)
        for num_workers in (1, 4):
            encoder = make_encoder(tmp_path / str(num_workers), num_workers)
            features = encoder.compute_image_features({}, split, preprocessing, chosen)
            assert features.tobytes() == expected.tobytes()
        assert len(split.reader.loaded) == num_loaded  # decoded elsewhere


def test_only_the_chosen_images_of_a_split_are_embedded(tmp_path):
    """They are cached by themselves; if all are chosen, as the split."""
    split, preprocessing, rows = (
        make_validation_split(9),
        Preprocessing("bicubic"),
        np.array([1, 5]),
    )
    for _ in range(2):
        features = make_encoder(tmp_path).compute_image_features({}, split, preprocessing, rows)
        assert features[:, 0].tolist() == [1, 5]
    assert split.reader.loaded == [1, 5]
    every_row = make_encoder(tmp_path).compute_image_features({}, split, preprocessing)
    assert every_row[:, 0].tolist() == list(range(9))
    assert split.reader.loaded[2:] == list(range(9))
    make_encoder(tmp_path).compute_image_features({}, split, preprocessing, np.arange(9))
    assert len(split.reader.loaded) == 11


def test_a_temperature_is_fitted_to_the_images_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(temperature, "MAX_TEMPERATURE_IMAGES", 50)
    split = make_validation_split(70)

    class Splits(DatasetSplits):
        def open(self, split_name):
            assert split_name == "validation"
            return split

    encoder = make_encoder(tmp_path)
    dataset = SimpleNamespace(name="set", user_folder=None)
    splits = Splits(dataset, "", ("validation", "test"), {}, encoder.cache)
    protocol = SimpleNamespace(preprocessing=Preprocessing("bicubic"), templates=("{}",))
    assert DatasetScorer(encoder, None, splits)._fit_temperature(protocol, None) is not None
    assert split.reader.loaded == temperature.select_images(70).tolist()
    assert len(split.reader.loaded) == 50


def test_rows_of_another_precision_are_cached_apart(tmp_path):
    split, preprocessing = make_validation_split(7), Preprocessing("bicubic")
    encoder = make_encoder(tmp_path)
    for precision in ("fp32", "bf16"):
        encoder.pretrained.precision = precision
        encoder.compute_image_features({}, split, preprocessing)
        encoder.embed_texts(["a", "b"])
    assert split.reader.loaded == [*range(7), *range(7)]
    names = list((tmp_path / "embeddings").iterdir())
    assert len(names) == 4
    encoder.compute_image_features({}, split, preprocessing)
    assert len(split.reader.loaded) == 14
    exact, other = (
        encoder.build_feature_key({}, "test", preprocessing),
        make_encoder(tmp_path).build_feature_key({}, "test", preprocessing),
    )
    assert exact == {**other, "precision": "bf16"}, "the keys of float32 are as they always were"
