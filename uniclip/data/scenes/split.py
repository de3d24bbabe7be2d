"""The splits of scenes; a scene is a pure function of its id.

A fifth of the combinations of the attributes other than side is held out from training; the test
split draws from all. Validation and test have as many scenes on the left as on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config import ScenesData
from uniclip.data.scenes.attributes import ATTRIBUTES, format_caption
from uniclip.data.scenes.draw import draw_scenes
from uniclip.data.split import SPLIT_NAMES, Split, SplitName

Int64 = NDArray[np.int64]

_VALUE_COUNTS = tuple(len(values) for values in ATTRIBUTES.values())
_COMBINATIONS = np.array(list(product(*(range(n) for n in _VALUE_COUNTS[:-1]))), np.int64)
"""(336, 5): every combination of the attributes other than side."""
_HELD_OUT_FRACTION = 0.2
MAX_CACHED_BYTES = 2**28
"""Splits whose images need more memory than this are drawn at each access."""


@dataclass(frozen=True, kw_only=True)
class ScenesSplit(Split):
    """Scenes, drawn on demand."""

    attribute_rows: Int64
    """(n, 6): attribute indices."""
    image_size: int

    def load_pixels(self, index: Int64) -> NDArray[np.uint8]:
        if len(self) * 3 * self.image_size**2 > MAX_CACHED_BYTES:
            return draw_scenes(self.attribute_rows[index], self.ids[index], self.image_size)
        cached_images, is_cached = _get_image_cache(int(self.ids[0]), len(self), self.image_size)
        uncached_index = index[~is_cached[index]]
        if len(uncached_index):
            cached_images[uncached_index] = draw_scenes(
                self.attribute_rows[uncached_index], self.ids[uncached_index], self.image_size
            )
            is_cached[uncached_index] = True
        return cached_images[index]


@lru_cache(maxsize=6)
def _get_image_cache(
    first_id: int, n: int, image_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the images that this process has drawn so far, shared by all its runs, and which
    they are."""
    return np.zeros((n, 3, image_size, image_size), np.uint8), np.zeros(n, bool)


def open_split(config: ScenesData, split_name: SplitName) -> ScenesSplit:
    """Return one split; training captions may describe other scenes or omit attributes."""
    num_scenes = config.num_train if split_name == "train" else config.num_test
    ids, attribute_rows = (
        _make_sample_ids(split_name, num_scenes),
        sample_attributes(split_name, num_scenes),
    )
    captions = [format_caption(row) for row in attribute_rows]
    if split_name == "train":
        captions = _sample_training_captions(config, ids, attribute_rows)
    return ScenesSplit(
        ids=ids,
        captions=tuple((text,) for text in captions),
        labels={name: attribute_rows[:, i].copy() for i, name in enumerate(ATTRIBUTES)},
        class_names=dict(ATTRIBUTES),
        sample_names=tuple(format_caption(row) for row in attribute_rows),
        attribute_rows=attribute_rows,
        image_size=config.image_size,
    )


def sample_attributes(split_name: SplitName, num_scenes: int | None = None) -> Int64:
    """Return the attribute indices, (n, 6) int64, of the first `num_scenes` scenes of a split."""
    if num_scenes is None:
        num_scenes = ScenesData().num_train if split_name == "train" else ScenesData().num_test
    ids = _make_sample_ids(split_name, num_scenes)
    combinations = _COMBINATIONS if split_name == "test" else _COMBINATIONS[~_build_held_out_mask()]
    combination_index = rng.integers(rng.derive_key("scenes", "looks"), ids, len(combinations))
    side = rng.integers(rng.derive_key("scenes", "side"), ids, 2)
    if split_name != "train":
        side = np.arange(num_scenes, dtype=np.int64) % 2
    return np.concatenate([combinations[combination_index], side[:, None]], axis=1)


def is_held_out(attribute_rows: Int64) -> NDArray[np.bool_]:
    """Return whether training excludes these combinations, (n,) bool for rows (n, 6) or (n, 5)."""
    combination_index = np.ravel_multi_index(tuple(attribute_rows[:, :5].T), _VALUE_COUNTS[:-1])
    held_out: NDArray[np.bool_] = _build_held_out_mask()[combination_index]
    return held_out


def _make_sample_ids(split_name: SplitName, num_scenes: int) -> rng.UInt64:
    return np.uint64(SPLIT_NAMES.index(split_name) << 32) + np.arange(num_scenes, dtype=np.uint64)


def _build_held_out_mask() -> NDArray[np.bool_]:
    """Return the held-out combinations, (336,) bool: the first fifth of a keyed permutation."""
    order = rng.permutation(rng.derive_key("scenes", "held out"), len(_COMBINATIONS))
    held_out_mask = np.zeros(len(_COMBINATIONS), bool)
    held_out_mask[order[: round(_HELD_OUT_FRACTION * len(_COMBINATIONS))]] = True
    return held_out_mask


def _sample_training_captions(
    config: ScenesData, ids: rng.UInt64, attribute_rows: Int64
) -> list[str]:
    is_mismatched = (
        rng.uniform(rng.derive_key("scenes", "caption noise"), ids, 1)[:, 0]
        < config.caption_swap_prob
    )
    caption_source = rng.integers(rng.derive_key("scenes", "whose caption"), ids, len(ids))
    caption_rows = np.where(is_mismatched[:, None], attribute_rows[caption_source], attribute_rows)
    mention_draws = rng.uniform(rng.derive_key("scenes", "words left out"), ids, len(ATTRIBUTES))
    is_mentioned = mention_draws >= config.attribute_dropout_prob
    return [
        format_caption(row, dict(zip(ATTRIBUTES, mention_flags, strict=True)))
        for row, mention_flags in zip(caption_rows, is_mentioned)
    ]
