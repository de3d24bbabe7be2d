"""Copies are found by their embedding, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image

from tests.uniclip.evaluate.checks.test_contaminated_items import draw_photo
from uniclip.evaluate.checks import embedding_copies, near_duplicates
from uniclip.evaluate.checks.embedding_copies import (
    Calibration,
    TrainingImages,
    calibrate,
    find_copies,
)

NUM_IMAGES = 150


def embed_colours(images: Sequence[Image.Image]) -> np.ndarray:
    """Return unit rows of the light and dark, mirrored or not, of the middle of images."""
    rows = []
    for image in images:
        grey = np.asarray(image.convert("L").resize((6, 6), Image.Resampling.BOX), np.float32)
        grey = grey - grey.mean()
        rows.append(np.concatenate([grey + grey[:, ::-1], np.abs(grey - grey[:, ::-1])]).ravel())
    stacked = np.stack(rows)
    return (stacked / np.linalg.norm(stacked, axis=1, keepdims=True)).astype(np.float32)


def open_images(images: Sequence[Image.Image | None]) -> TrainingImages:
    readable = [image or Image.new("RGB", (96, 96)) for image in images]
    rows = np.nan_to_num(embed_colours(readable))
    return TrainingImages(rows, images.__getitem__, embed_colours)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [draw_photo(i) for i in range(NUM_IMAGES)]


@pytest.fixture(scope="module")
def train(photos: list[Image.Image]) -> TrainingImages:
    return open_images(photos)


@pytest.fixture(scope="module")
def calibration(train: TrainingImages) -> Calibration:
    return calibrate(train)


@pytest.mark.parametrize("block_shape", [(1024, 8192), (7, 11), (1, 1)])
def test_neighbors_are_those_of_all_similarities(
    block_shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_copies, "BLOCK_SHAPE", block_shape)
    random = np.random.default_rng(0)
    queries, keys = (random.normal(size=(n, 8)).astype(np.float32) for n in (23, 57))
    similarity = queries @ keys.T
    values, rows = embedding_copies.find_neighbors(queries, keys, 3)
    assert np.array_equal(rows, np.argsort(-similarity, axis=1)[:, :3])
    assert np.allclose(values, -np.sort(-similarity, axis=1)[:, :3], atol=1e-6)
    assert embedding_copies.find_neighbors(queries, keys[:2], 3)[1].shape == (23, 2)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "its centre": lambda p: p.crop((7, 7, 89, 89)),
    "smaller": lambda p: p.resize((60, 60)),
    "brighter": lambda p: Image.eval(p, lambda level: min(255, int(1.1 * level) + 10)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_and_others_are_not(
    photos: list[Image.Image], train: TrainingImages, calibration: Calibration, change: str
) -> None:
    assert calibration.recall >= 0.85
    assert calibration.similar_share == 0
    assert calibration.correlation >= embedding_copies.MIN_CORRELATION
    test = [CHANGES[change](photo) for photo in photos[:60]]
    test += [draw_photo(i) for i in range(1_000, 1_060)]
    verdicts = find_copies(embed_colours(test), test.__getitem__, train, calibration)
    assert (verdicts[:60] == near_duplicates.DUPLICATE).mean() >= 0.85
    assert (verdicts[60:] == near_duplicates.DISTINCT).all()


def test_recall_is_that_of_the_search(photos: list[Image.Image]) -> None:
    """Of the kind of copy that it finds least, and not only of its thresholds: a copy that has
    nearer neighbors than its original is missed."""
    train = open_images(photos[:40])
    calibration = calibrate(train)
    kinds = zip(*(embedding_copies.make_copies(photo) for photo in photos[:40]))
    recalls = []
    for copies in kinds:
        verdicts = find_copies(embed_colours(copies), copies.__getitem__, train, calibration)
        recalls.append((verdicts == near_duplicates.DUPLICATE).mean())
    assert calibration.recall == min(recalls) > 0.85

    def embed_mirrored_elsewhere(images: Sequence[Image.Image]) -> np.ndarray:
        """Return rows by which the second copy, the mirrored one, is far from its original."""
        rows = embed_colours(images)
        rows[1] *= -1
        return rows

    blind = TrainingImages(train.rows, train.load, embed_mirrored_elsewhere)
    assert calibrate(blind).recall < 0.2


def test_training_images_that_repeat_are_counted(photos: list[Image.Image]) -> None:
    pairs = [photo for photo in photos[:20] for _ in range(2)]
    assert calibrate(open_images(pairs)).similar_share == 1


def test_plain_and_unreadable_images_are_no_copies(photos: list[Image.Image]) -> None:
    train = open_images([None, Image.new("RGB", (96, 96), "red"), *photos[:10]])
    calibration = calibrate(train)
    assert calibration.num_images == 10
    plain = Image.new("RGB", (96, 96), "red")
    rows = train.rows[[2, 3]]  # as similar as can be, whatever the images show
    images = [plain, photos[5]]
    verdicts = find_copies(rows, images.__getitem__, train, calibration)
    assert verdicts.tolist() == [near_duplicates.UNDECIDABLE, near_duplicates.DISTINCT]
    only_plain = calibrate(open_images([plain, plain]))
    assert (only_plain.num_images, only_plain.similarity) == (0, 1.0)
