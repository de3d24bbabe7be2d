"""Test images that are copies of training images, found by their embedding in a model.

The `NUM_NEIGHBORS` nearest training images of a test image are found exactly, by blocks of matrix
products. Those above a cosine similarity are candidates; a candidate is a copy if its grey
thumbnail has a correlation with that of the test image above another threshold, at one of the
central crops of `SCALES` of either, mirrored or not. So copies are found that were mirrored,
cropped at their centre or recoloured, which the hash of `near_duplicates` does not find.

Both thresholds are calibrated on the training images: of each kind of copy that is made of some of
them (`make_copies`), `THRESHOLD_RECALL` are above each, unless that of correlations would be below
`MIN_CORRELATION`. The recall of the whole search is then measured on these copies, that of each
kind. How many of these images are taken for copies of their nearest *other* training images bounds
the share of wrong verdicts from above: some are copies. The calibration is our reconstruction.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.evaluate.checks.near_duplicates import DISTINCT, DUPLICATE, UNDECIDABLE

VERSION = 2
"""Raised when the same images and embeddings get other verdicts."""
NUM_NEIGHBORS = 4
BLOCK_SHAPE = (1024, 8192)
"""Test and training images compared at once: 32 MiB of similarities."""
NUM_CALIBRATED = 128
"""Training images of which copies are made."""
THRESHOLD_RECALL = 0.95
"""Share of the made copies of each kind that are above a threshold."""
SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
"""Sides of the central crops that are compared, as shares of the shorter side."""
THUMBNAIL_SIZE = 16
MIN_CORRELATION = 0.9
"""The threshold of correlations is never lower."""
MIN_CONTRAST = 3.0
"""Below this standard deviation, in grey levels, an image is too plain to be compared."""

Float32 = NDArray[np.float32]
LoadImage = Callable[[int], "Image.Image | None"]
"""Returns an image, RGB; None if it cannot be read."""
EmbedImages = Callable[[Sequence[Image.Image]], Float32]
"""Returns unit rows (n, D) of images."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The thresholds, and the verdicts of the search on training images."""

    similarity: float
    """Smallest cosine similarity of a candidate."""
    correlation: float
    """Smallest correlation of thumbnails of a copy."""
    recall: float
    """Share of the made copies whose original the search finds: it is one of the nearest neighbors
    and above both thresholds. Of the kind of copy with the smallest share."""
    similar_share: float
    """Share of the images that are taken for copies of other training images."""
    num_images: int
    """Number of training images of which copies were made."""


@dataclass(frozen=True)
class TrainingImages:
    """The training images as one model embeds them."""

    rows: Float32
    """(m, D) unit rows; 0 for images that cannot be read. May be a memory map."""
    load: LoadImage
    embed: EmbedImages


def find_neighbors(
    queries: Float32, keys: Float32, num_neighbors: int = NUM_NEIGHBORS
) -> tuple[Float32, NDArray[np.int64]]:
    """Return similarities and rows (n, k) of the nearest keys of each query, nearest first.

    A block at a time, so that memory does not grow with the number of keys, which are read once.
    With fewer keys than neighbors, k is their number.

    Args:
        queries: (n, D) unit rows.
        keys: (m, D) unit rows.
        num_neighbors: Largest k.
    """
    k = min(num_neighbors, len(keys))
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.zeros((len(queries), k), np.int64)
    for start in range(0, len(keys), BLOCK_SHAPE[1]):
        block = np.asarray(keys[start : start + BLOCK_SHAPE[1]])
        for first in range(0, len(queries), BLOCK_SHAPE[0]):
            part = slice(first, first + BLOCK_SHAPE[0])
            similarity = np.nan_to_num(queries[part] @ block.T)
            size = min(k, len(block))
            columns = np.argpartition(-similarity, size - 1, axis=1)[:, :size]
            values = np.concatenate(
                [best[part], np.take_along_axis(similarity, columns, axis=1)], axis=1
            )
            candidates = np.concatenate([rows[part], columns + start], axis=1)
            order = np.argsort(-values, axis=1, kind="stable")[:, :k]
            best[part] = np.take_along_axis(values, order, axis=1)
            rows[part] = np.take_along_axis(candidates, order, axis=1)
    return best, rows


def find_copies(
    test_rows: Float32, load_test: LoadImage, train: TrainingImages, calibration: Calibration
) -> NDArray[np.int8]:
    """Return whether each test image is a copy of a training image.

    (n,) int8 of `DUPLICATE`, `DISTINCT` and `UNDECIDABLE`, the last of an image that is too plain
    or cannot be read.

    Args:
        test_rows: (n, D) unit rows of the test images.
        load_test: Returns a test image.
        train: The training images.
        calibration: The thresholds.
    """
    similarities, neighbors = find_neighbors(test_rows, train.rows)
    verdicts = np.full(len(test_rows), DISTINCT, np.int8)
    for i in np.flatnonzero((similarities >= calibration.similarity).any(axis=1)).tolist():
        views = _compute_views(load_test(i))
        if views is None:
            verdicts[i] = UNDECIDABLE
            continue
        candidates = neighbors[i][similarities[i] >= calibration.similarity].tolist()
        correlations = (compute_correlation(views, train.load(j)) for j in candidates)
        if any(value >= calibration.correlation for value in correlations):
            verdicts[i] = DUPLICATE
    return verdicts


def calibrate(train: TrainingImages) -> Calibration:
    """Return the thresholds by copies of training images that are evenly spaced in their order."""
    step = max(1, len(train.rows) // NUM_CALIBRATED)
    sample = range(0, len(train.rows), step)[:NUM_CALIBRATED]
    loaded = ((i, train.load(i)) for i in sample)
    images = {i: image for i, image in loaded if image is not None}
    rows, correlations = {}, []
    for i, image in images.items():
        views, copies = _compute_views(image), make_copies(image)
        if views is not None:
            rows[i] = train.embed(copies)
            correlations.append([compute_correlation(views, copy) for copy in copies])
    if not rows:
        return Calibration(similarity=1.0, correlation=1.0, recall=0.0, similar_share=0.0,
                           num_images=0)  # fmt: skip
    index = np.array([*rows], np.int64)
    similarities = np.array([copy_rows @ train.rows[i] for i, copy_rows in rows.items()])
    correlation_array = np.array(correlations)
    similarity, correlation = (
        float(np.quantile(values, 1 - THRESHOLD_RECALL, axis=0).min())
        for values in (similarities, correlation_array)
    )
    correlation = max(MIN_CORRELATION, correlation)
    _, neighbors = find_neighbors(np.concatenate([*rows.values()]), train.rows)
    is_neighbor = (neighbors.reshape(*similarities.shape, -1) == index[:, None, None]).any(axis=2)
    is_match = is_neighbor & (similarities >= similarity) & (correlation_array >= correlation)
    calibration = Calibration(
        similarity=similarity,
        correlation=correlation,
        recall=float(is_match.mean(axis=0).min()),
        similar_share=0.0,
        num_images=len(rows),
    )
    similar_share = _measure_similar_share(calibration, train, images)
    return replace(calibration, similar_share=similar_share)


def _measure_similar_share(
    calibration: Calibration, train: TrainingImages, images: Mapping[int, Image.Image]
) -> float:
    """Return the share of images that are taken for copies of other training images."""
    index = np.array([*images], np.int64)
    values, neighbors = find_neighbors(train.rows[index], train.rows, NUM_NEIGHBORS + 1)
    num_similar = 0
    for row, i in enumerate(index.tolist()):
        views = _compute_views(images[i])
        is_candidate = (neighbors[row] != i) & (values[row] >= calibration.similarity)
        num_similar += views is not None and any(
            compute_correlation(views, train.load(j)) >= calibration.correlation
            for j in neighbors[row][is_candidate].tolist()
        )
    return num_similar / len(index)


def make_copies(image: Image.Image) -> list[Image.Image]:
    """Return copies of an image: smaller JPEG, mirrored, its centre, brighter, grey."""
    stream = io.BytesIO()
    smaller = image.resize([max(1, 3 * side // 4) for side in image.size])
    smaller.save(stream, "JPEG", quality=75)
    margins = [side * 15 // 200 for side in image.size]
    width, height = image.size
    centre = image.crop((margins[0], margins[1], width - margins[0], height - margins[1]))
    return [
        Image.open(stream).convert("RGB"),
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        centre,
        Image.eval(image, lambda level: min(255, int(1.1 * level) + 10)),
        image.convert("L").convert("RGB"),
    ]


def compute_correlation(views: Float32, other: Image.Image | None) -> float:
    """Return the largest correlation of the views of an image with those of another; 0 for none."""
    other_views = _compute_views(other)
    if other_views is None:
        return 0.0
    return float(max((other_views @ views[0]).max(), (views @ other_views[0]).max()))


def _compute_views(image: Image.Image | None) -> Float32 | None:
    """Return unit rows of the thumbnails of an image, (2 x scales, pixels), the whole one first.

    None for an image that is too plain or missing.
    """
    if image is None:
        return None
    grey = image.convert("L")
    thumbnails = np.stack([*_iterate_crops(grey)]).astype(np.float32)
    both = np.concatenate([thumbnails, thumbnails[:, :, ::-1]]).reshape(2 * len(SCALES), -1)
    centred = both - both.mean(axis=1, keepdims=True)
    if float(centred[0].std()) < MIN_CONTRAST:
        return None
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Float32 = centred / np.maximum(norms, MIN_CONTRAST)
    return unit


def _iterate_crops(grey: Image.Image) -> Iterator[NDArray[Any]]:
    """Yield the thumbnail of the central square of each of `SCALES`."""
    for scale in SCALES:
        side = scale * min(grey.size)
        left, top = (grey.width - side) / 2, (grey.height - side) / 2
        yield np.asarray(
            grey.resize(
                (THUMBNAIL_SIZE, THUMBNAIL_SIZE),
                Image.Resampling.BOX,
                box=(left, top, left + side, top + side),
            )
        )
