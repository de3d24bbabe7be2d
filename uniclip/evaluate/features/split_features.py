"""Splits, opened once a process, and their embeddings, computed a batch at a time.

A worker evaluates many models in turn; what does not depend on the model is cached between them.
The images of a split are never in memory all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip import data
from uniclip.config.cores import derive_num_workers
from uniclip.evaluate.cache import select_share
from uniclip.evaluate.features.decoding import decode_ahead

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data import Split, SplitName
    from uniclip.evaluate.features.shares import FeatureShares

Float32 = NDArray[np.float32]

BATCH_SIZE = 1024
"""Images read at once."""


def open_split_cached(data_config: DataConfig, split_name: SplitName) -> Split:
    """Open a split of a data section; `UserError` if its data are missing."""
    return _open_split(data_config, split_name, data.digest_content(data_config))


@lru_cache(maxsize=6)
def _open_split(data_config: DataConfig, split_name: SplitName, content_digest: str) -> Split:
    """Open a split whose data have the fingerprint of `content_digest`."""
    return data.open_split(data_config, split_name)


def compute_image_features(
    pretrained: PretrainedModel,
    split: Split,
    index: NDArray[np.int64] | None = None,
    shares: FeatureShares | None = None,
) -> Float32:
    """Return image-encoder features (n, F), before any head, under the evaluation transform.

    Image files are decoded by the data workers of the model's configuration.

    Args:
        pretrained: The model.
        split: The images.
        index: (n,) the images of `split`; None = all.
        shares: What other processes have embedded of the split.
    """
    images = np.arange(len(split)) if index is None else index
    with _embed_ahead(pretrained, split, images) as embed:
        blocks = _batch_indices(len(images))
        if shares is None:
            return np.concatenate([embed(block) for block in blocks])
        rows = shares.find(split, images, pretrained.image_batch_size)
        return np.concatenate([rows.read_or_embed(block, embed) for block in blocks])


def embed_share(
    pretrained: PretrainedModel,
    split: Split,
    images: NDArray[np.int64],
    shares: FeatureShares,
    *,
    rank: int,
    world_size: int,
) -> None:
    """Store the share of a process in what `compute_image_features` returns.

    images: (n,) the images of `split`.
    """
    rows = shares.find(split, images, pretrained.image_batch_size)
    with _embed_ahead(pretrained, split, images) as embed:
        rows.embed_share(_batch_indices(len(images)), embed, rank, world_size)


@contextmanager
def _embed_ahead(
    pretrained: PretrainedModel, split: Split, images: NDArray[np.int64]
) -> Iterator[Callable[[NDArray[np.int64]], Float32]]:
    """Yield a function that returns the features of images, which others decode ahead.

    It takes positions (m,) in `images`.
    """

    def load(positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        return split.load_pixels(images[positions])

    num_workers = derive_num_workers(pretrained.config) if split.has_image_files else 0
    with decode_ahead(load, len(images), num_workers) as load_ahead:
        yield lambda positions: pretrained.compute_image_features(load_ahead(positions))


def compute_readable_features(
    pretrained: PretrainedModel,
    split: Split,
    index: NDArray[np.int64],
    shares: FeatureShares | None = None,
) -> tuple[Float32, NDArray[np.int64]]:
    """Return the features of those of the images `index` that can be read, and which those are.

    For training images, some of which may be unreadable. `shares`: what other processes have
    embedded of the split; a batch with an unreadable image is never among it.
    """
    features, readable_index = [], []
    rows = None if shares is None else shares.find(split, index, BATCH_SIZE)
    for batch in _batch_indices(len(index)):
        stored = None if rows is None else rows.read(batch)
        if stored is not None:
            features.append(stored)
            readable_index.append(index[batch])
            continue
        pixels, is_readable = split.load_readable_pixels(index[batch])
        features.append(pretrained.compute_image_features(pixels[is_readable]))
        readable_index.append(index[batch][is_readable])
    return np.concatenate(features), np.concatenate(readable_index)


def embed_readable_share(
    pretrained: PretrainedModel,
    split: Split,
    index: NDArray[np.int64],
    shares: FeatureShares,
    *,
    rank: int,
    world_size: int,
) -> None:
    """Store the share of a process in what `compute_readable_features` returns."""
    rows = shares.find(split, index, BATCH_SIZE)
    for batch in select_share(_batch_indices(len(index)), rank, world_size):
        pixels, is_readable = split.load_readable_pixels(index[batch])
        if is_readable.all():
            rows.store(batch, pretrained.compute_image_features(pixels))


def project_features(pretrained: PretrainedModel, features: Float32) -> Float32:
    """Return unit rows (n, D) of images from their features (n, F).

    Raises `ValueError` if they are not finite: the scores of such a model would look valid.
    """
    is_read_only = not features.flags.writeable  # torch accepts writable arrays only
    rows = pretrained.project_image(np.array(features) if is_read_only else features)
    if not np.isfinite(rows).all():
        raise ValueError("the model's embeddings are not finite: its weights diverged")
    return rows


def _batch_indices(n: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + BATCH_SIZE, n)) for start in range(0, n, BATCH_SIZE)]
