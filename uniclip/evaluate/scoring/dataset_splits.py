"""The splits of a data set that are evaluated, and the features of their images.

Each picture is embedded once: several images of a split may show the same one, and so may those of
another data set (`Dataset.source`), whose features are then the same file of the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import cached_index
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.features import split_features
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.protocols.protocol import DatasetProtocol, Preprocessing
from uniclip.evaluate.scoring import classification
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

Float32 = NDArray[np.float32]
EmbeddingInput = tuple[
    Mapping[str, Any], ImageDataset, Preprocessing, Union[NDArray[np.int64], None]
]
"""The arguments of `CachedEncoder.compute_image_features`."""


@dataclass(frozen=True)
class DatasetSplits:
    """The splits of a data set that are evaluated, as they are (or last were) under `root`."""

    dataset: Dataset
    root: str
    names: tuple[SplitName, ...]
    fingerprint: Mapping[str, Any]
    """The fingerprint of the splits' data."""
    cache: Cache
    source: DatasetSplits | None = None
    """The splits of `Dataset.source`."""
    reference: DatasetSplits | None = None
    """The splits of `Dataset.reference`, where it is present."""

    @property
    def has_probe_data(self) -> bool:
        """Whether a linear probe can be fitted and selected."""
        return {"train", "validation"} <= set(self.names)

    def open(self, split: SplitName) -> ImageDataset:
        """Open a split; its images may be missing while its index is cached."""
        return cached_index.open_with_cached_index(
            self.dataset, self.root, split, self.fingerprint, self.cache
        )


@dataclass(frozen=True)
class SplitEmbedding:
    """The pictures of a split as one model embeds them, and which of them each image shows."""

    encoder: CachedEncoder
    embedding_input: EmbeddingInput
    picture_features: Float32
    """(m, F) image-encoder features of the m pictures."""
    picture_rows: NDArray[np.int64] | None
    """(n,) picture of each image; None: image i shows picture i."""

    @property
    def is_cached(self) -> bool:
        """Whether the features are a file of the cache."""
        return isinstance(self.picture_features, np.memmap)

    def get_features(self) -> Float32:
        """Return the image-encoder features of the images, (n, F)."""
        return self._expand(self.picture_features)

    def project(self) -> Float32:
        """Return unit rows of the images in the joint space, (n, D)."""
        return self._expand(
            split_features.project_features(self.encoder.pretrained, self.picture_features)
        )

    def remove_partial_features(self) -> None:
        """Remove what was cached before the features were complete."""
        self.encoder.remove_partial_features(*self.embedding_input)

    def _expand(self, rows: Float32) -> Float32:
        return rows if self.picture_rows is None else rows[self.picture_rows]


def resolve_embedding_input(
    splits: DatasetSplits, dataset: ImageDataset, preprocessing: Preprocessing
) -> EmbeddingInput:
    """Return what is embedded for an opened split: its pictures, or those of its source."""
    if splits.source is None:
        return splits.fingerprint, dataset, preprocessing, dataset.find_distinct_images()
    return splits.source.fingerprint, splits.source.open(dataset.split), preprocessing, None


def embed_split(
    encoder: CachedEncoder,
    splits: DatasetSplits,
    dataset: ImageDataset,
    preprocessing: Preprocessing,
) -> SplitEmbedding:
    """Embed an opened split, or the split of the data set whose images it has."""
    embedding_input = resolve_embedding_input(splits, dataset, preprocessing)
    features = encoder.compute_image_features(*embedding_input)
    return SplitEmbedding(encoder, embedding_input, features, dataset.picture_rows)


def get_probe_features(embedding: SplitEmbedding, protocol: DatasetProtocol) -> Numbers:
    """Return the features (n, F) that a protocol's probe is fitted to."""
    assert protocol.probe_config is not None, protocol.dataset
    if protocol.probe_config.features == "embedding":
        return embedding.project()
    return embedding.get_features()


def label_features(
    embedding: SplitEmbedding, dataset: ImageDataset, protocol: DatasetProtocol
) -> LabelledFeatures:
    """Return a split's probe features, and its labels under a protocol."""
    assert dataset.labels is not None
    truth = classification.build_ground_truth(
        dataset.labels, dataset.classes, dataset.difficult, protocol
    )
    return LabelledFeatures(get_probe_features(embedding, protocol), truth.labels)
