"""Stub models whose embeddings are given, so that every score is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from uniclip.config import RunConfig, build_run_config

SMALL_MODEL = {
    "image": {"name": "convnext_atto", "options": {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}},
    "text": {"width": 32, "layers": 1, "heads": 2, "vocab_size": 400},
    "embed_dim": 16,
    "augmentation_width": 16,
}


def config(data: dict, **sections: object) -> RunConfig:
    """Return a run on `data`; other sections at their defaults unless given."""
    return build_run_config({"data": data, "method": {"name": "uniclip"}, **sections})


class Stub:
    """A `PretrainedModel` with given images(pixels, vectors), texts(list) and trunk(pixels)."""

    def __init__(
        self,
        of: RunConfig,
        images: Callable = lambda pixels, vectors: np.ones((len(pixels), 4)),
        texts: Callable = lambda texts: np.ones((len(texts), 4)),
        trunk: Callable = lambda pixels: np.zeros((len(pixels), 2)),
    ) -> None:
        self.precision = "fp32"
        self.config, self._images, self._texts, self._trunk = of, images, texts, trunk
        self.method = SimpleNamespace()
        self.tokenizer = SimpleNamespace(encode_uncut=encode_lower_case, num_special_tokens=2)
        self._images_since_projection: list = []

    def embed_images(self, pixels, augmentation_params=None, vectors=None):
        """Return unit rows; vectors are None for the evaluation transform."""
        assert augmentation_params is None
        return unit(self._images(pixels, vectors))

    def embed_texts(self, texts):
        """Return unit rows."""
        return unit(self._texts(texts))

    def compute_image_features(self, pixels):
        """Return the given features; the images are remembered for `project_image`."""
        self._images_since_projection.append(pixels)
        return np.asarray(self._trunk(pixels), np.float32)

    def project_image(self, features):
        """Return unit rows of the images whose features were computed since the last call."""
        pixels, self._images_since_projection = np.concatenate(self._images_since_projection), []
        assert len(pixels) == len(features)
        return unit(self._images(pixels, None))

    def image_text_scale(self):
        """Return the initial scale of CLIP."""
        return 1 / 0.07


class ColourModel(Stub):
    """A model whose features are an image's mean colour; it counts the images that it embeds."""

    def __init__(self, of: RunConfig) -> None:
        super().__init__(of, texts=lambda texts: word_vectors(texts)[:, :3])
        self.num_embedded = 0

    def compute_image_features(self, pixels):
        """Return the mean colour of each image, (n, 3)."""
        self.num_embedded += len(pixels)
        return pixels.mean(axis=(2, 3), dtype=np.float32) - 100

    def project_image(self, features):
        """Return unit rows."""
        return unit(features)


def encode_lower_case(texts):
    """Return the bytes of each text in lower case, as the trained tokenizer's tokens are."""
    return [list(text.lower().encode()) for text in texts]


def unit(rows):
    """Return rows of length one, float32."""
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def word_vectors(texts):
    """Return a random direction for each text, the same for the same text: (n, 64)."""
    from uniclip.rng import hash_sample_id, uniform

    ids = np.array([hash_sample_id(t) for t in texts], np.uint64)
    return uniform(1, ids, 64) - 0.5


def values(scores):
    """Return the values of scores by name."""
    return {s.name: s.value for s in scores}
