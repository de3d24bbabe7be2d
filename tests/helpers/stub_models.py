"""Models that are no networks: what they embed is written down, so every score is known."""

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
    """A run on `data`; other sections at their defaults."""
    return build_run_config({"data": data, "method": {"name": "uniclip"}, **sections})


class Stub:
    """Stands for `Pretrained`: images(pixels, vectors), texts(list) and trunk(pixels) are given."""

    def __init__(
        self,
        of: RunConfig,
        images: Callable = lambda pixels, vectors: np.ones((len(pixels), 4)),
        texts: Callable = lambda texts: np.ones((len(texts), 4)),
        trunk: Callable = lambda pixels: np.zeros((len(pixels), 2)),
    ) -> None:
        self.config, self._images, self._texts, self._trunk = of, images, texts, trunk
        self.method = SimpleNamespace()
        self._seen: list = []

    def embed_images(self, pixels, augmentation_params=None, vectors=None):
        """Unit rows; vectors are None for the evaluation transform."""
        assert augmentation_params is None
        return unit(self._images(pixels, vectors))

    def embed_texts(self, texts):
        """Unit rows."""
        return unit(self._texts(texts))

    def compute_image_features(self, pixels):
        """As given; the pictures are kept for `project`."""
        self._seen.append(pixels)
        return np.asarray(self._trunk(pixels), np.float32)

    def project_image(self, features):
        """Unit rows of the pictures whose features were asked for since the last time."""
        pixels, self._seen = np.concatenate(self._seen), []
        assert len(pixels) == len(features)
        return unit(self._images(pixels, None))

    def image_text_scale(self):
        """CLIP's first one."""
        return 1 / 0.07


def unit(rows):
    """Rows of length one, float32."""
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def word_vectors(texts):
    """A random direction for each text, the same for the same text: (n, 64)."""
    from uniclip.rng import hash_sample_id, uniform

    ids = np.array([hash_sample_id(t) for t in texts], np.uint64)
    return uniform(1, ids, 64) - 0.5


def values(scores):
    """Scores by name."""
    return {s.name: s.value for s in scores}
