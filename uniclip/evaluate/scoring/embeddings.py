"""Embeddings of published data sets by one model: each image and each prompt is embedded once.

Image-encoder features are cached, and rows of the joint space are projected from them: zero-shot
classification, probes, retrieval, and all protocols with one preprocessing share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.config.binding import to_builtins
from uniclip.errors import StopRequested
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.features.decoding import decode_ahead
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.protocols.protocol import Preprocessing
from uniclip.evaluate.scoring import zero_shot
from uniclip.io import hashing

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

Float32 = NDArray[np.float32]

VERSION = 1
"""Raised when the same weights give other rows of the same images or texts."""
MAX_ASPECT_RATIO = 100


@dataclass(frozen=True)
class CachedEncoder:
    """A model, and the cache of its rows."""

    pretrained: PretrainedModel
    cache: Cache
    should_stop: Callable[[], bool] = lambda: False
    """Called at each batch of images and each evaluation of a probe's loss; `StopRequested` is
    raised once it returns True."""
    num_workers: int = 0
    """Processes that decode images (`decoding.decode_ahead`)."""

    def build_feature_key(
        self, fingerprint: Mapping[str, Any], split: str, preprocessing: Preprocessing
    ) -> dict[str, Any]:
        """Return everything that the features of a split depend on, as plain JSON."""
        image_size = self.pretrained.config.model.image.image_size
        return {
            "weights": self.cache.weights_hash,
            "data": dict(fingerprint),
            "split": split,
            "preprocessing": to_builtins(preprocessing),
            "image_size": image_size,
            "features": "backbone",
            "version": VERSION,
            **self._build_precision_key(),
        }

    def _build_precision_key(self) -> dict[str, Any]:
        """Return what the precision of rows adds to their key: nothing for float32."""
        precision = self.pretrained.precision
        return {} if precision == "fp32" else {"precision": precision}

    def compute_image_features(
        self,
        fingerprint: Mapping[str, Any],
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        rows: NDArray[np.int64] | None = None,
    ) -> Float32:
        """Return image-encoder features (n, F) of a split of the fingerprinted data.

        rows: (n,) the images that are embedded, in this order; None = all of the split.
        """
        num_images = len(dataset if rows is None else rows)
        key = self.build_feature_key(fingerprint, _name_rows(dataset, rows), preprocessing)
        with self._embed_images(dataset, preprocessing, rows) as embed:
            return self.cache.get_or_embed(key, num_images, embed)

    def embed_share(
        self,
        fingerprint: Mapping[str, Any],
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        rows: NDArray[np.int64] | None = None,
        *,
        rank: int,
        world_size: int,
    ) -> None:
        """Cache the share of a process in the features of a split (`Cache.embed_share`)."""
        num_images = len(dataset if rows is None else rows)
        key = self.build_feature_key(fingerprint, _name_rows(dataset, rows), preprocessing)
        with self._embed_images(dataset, preprocessing, rows) as embed:
            self.cache.embed_share(key, num_images, embed, rank=rank, world_size=world_size)

    @contextmanager
    def _embed_images(
        self,
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        rows: NDArray[np.int64] | None,
    ) -> Iterator[Callable[[NDArray[np.int64]], Float32]]:
        """Yield a function that returns the features of images, which others decode ahead."""
        image_size = self.pretrained.config.model.image.image_size

        def load(index: NDArray[np.int64]) -> NDArray[np.uint8]:
            images = [
                preprocess_image(dataset.load_image(i), preprocessing, image_size)
                for i in (index if rows is None else rows[index]).tolist()
            ]
            return np.stack(images)

        num_images = len(dataset if rows is None else rows)
        with decode_ahead(load, num_images, self.num_workers) as load_ahead:

            def embed(index: NDArray[np.int64]) -> Float32:
                if self.should_stop():
                    raise StopRequested
                return self.pretrained.compute_image_features(load_ahead(index))

            yield embed

    def remove_partial_features(
        self,
        fingerprint: Mapping[str, Any],
        dataset: ImageDataset,
        preprocessing: Preprocessing,
        rows: NDArray[np.int64] | None = None,
    ) -> None:
        """Remove what `compute_image_features` cached of a split before it was complete."""
        split = _name_rows(dataset, rows)
        key = self.build_feature_key(fingerprint, split, preprocessing)
        self.cache.remove_segments(key, len(dataset if rows is None else rows))

    def embed_texts(self, texts: Sequence[str]) -> Float32:
        """Return unit rows (n, D) of texts, embedded shortest first, with little padding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        sorted_texts = [texts[i] for i in order]

        def embed(index: NDArray[np.int64]) -> Float32:
            return self.pretrained.embed_texts([sorted_texts[i] for i in index.tolist()])

        key = self._build_text_key(sorted_texts)
        rows = self.cache.get_or_embed(key, len(texts), embed)
        self.cache.remove_segments(key, len(texts))
        return rows[np.argsort(order)]

    def build_classifier(self, prompts: Sequence[Sequence[str]]) -> Float32:
        """Return one unit row for each class, (C, D), from its prompts."""

        def compute() -> dict[str, Numbers]:
            return {"rows": zero_shot.build_classifier(self.pretrained.embed_texts, prompts)}

        return self.cache.get_or_compute(
            self._build_text_key([list(class_prompts) for class_prompts in prompts]), compute
        )["rows"]

    def _build_text_key(self, texts: Sequence[Any]) -> dict[str, Any]:
        return {
            "weights": self.cache.weights_hash,
            "texts": hashing.digest(texts, 32),
            "version": VERSION,
            **self._build_precision_key(),
        }


def _name_rows(dataset: ImageDataset, rows: NDArray[np.int64] | None) -> str:
    """Return what names the rows of a split in the key of their features."""
    if rows is None or np.array_equal(rows, np.arange(len(dataset))):
        return dataset.split
    return f"{dataset.split}: {hashing.digest(rows.tolist(), 32)}"


def preprocess_image(
    image: Image.Image, preprocessing: Preprocessing, image_size: int
) -> NDArray[np.uint8]:
    """Return (3, image_size, image_size) uint8: an image under a protocol's preprocessing.

    Equal to the bit to torchvision's Resize and CenterCrop, which take three times as long for a
    small image. What is more than `MAX_ASPECT_RATIO` times as long as wide, where the resized image
    would be huge, is cropped before.
    """
    image = _limit_aspect_ratio(image)
    short, long = sorted(image.size)
    longer = int(image_size * long / short)
    size = (image_size, longer) if image.width <= image.height else (longer, image_size)
    resized = image.resize(size, Image.Resampling[preprocessing.interpolation.upper()])
    left, top = (int(round((length - image_size) / 2.0)) for length in size)
    center_crop = resized.crop((left, top, left + image_size, top + image_size))
    return np.asarray(center_crop, dtype=np.uint8).transpose(2, 0, 1)


def _limit_aspect_ratio(image: Image.Image) -> Image.Image:
    """Return the centre of an image whose longer side exceeds `MAX_ASPECT_RATIO` shorter ones."""
    longest = MAX_ASPECT_RATIO * min(image.size)
    if max(image.size) <= longest:
        return image
    width, height = (min(side, longest) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
