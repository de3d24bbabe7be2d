"""Splits, opened once a process, and their embeddings, computed a batch at a time.

A worker evaluates many models in turn; what does not depend on the model is cached between them.
The images of a split are never in memory all at once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip import data
from uniclip.config.cores import derive_num_workers
from uniclip.evaluate.features.decoding import decode_ahead

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data import Split, SplitName

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
    pretrained: PretrainedModel, split: Split, index: NDArray[np.int64] | None = None
) -> Float32:
    """Return image-encoder features (n, F), before any head, under the evaluation transform.

    Image files are decoded by the data workers of the model's configuration.

    index: (n,) the images of `split`; default: all.
    """
    images = np.arange(len(split)) if index is None else index

    def load(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return split.load_pixels(images[rows])

    num_workers = derive_num_workers(pretrained.config) if split.has_image_files else 0
    with decode_ahead(load, len(images), num_workers) as load_ahead:
        batches = _batch_indices(len(images))
        return np.concatenate(
            [pretrained.compute_image_features(load_ahead(batch)) for batch in batches]
        )


def compute_readable_features(
    pretrained: PretrainedModel, split: Split, index: NDArray[np.int64]
) -> tuple[Float32, NDArray[np.int64]]:
    """Return the features of those of the images `index` that can be read, and which those are.

    For training images, some of which may be unreadable.
    """
    features, readable_index = [], []
    for batch in _batch_indices(len(index)):
        pixels, is_readable = split.load_readable_pixels(index[batch])
        features.append(pretrained.compute_image_features(pixels[is_readable]))
        readable_index.append(index[batch][is_readable])
    return np.concatenate(features), np.concatenate(readable_index)


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
