"""Scenes, part by part: each a pure function of its id.

A fifth of the combinations of the attributes other than side is never seen in training; the test
draws from all. Validation and test have as many scenes on the left as on the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config import ScenesData
from uniclip.data.scenes.attributes import ATTRIBUTES, caption
from uniclip.data.scenes.draw import draw
from uniclip.data.split import PARTS, Part, Split

Int64 = NDArray[np.int64]

_SIZES = tuple(len(values) for values in ATTRIBUTES.values())
_LOOKS = np.array(list(product(*(range(n) for n in _SIZES[:-1]))), np.int64)
"""(336, 5): every combination of the attributes other than side."""
_HELD_OUT_SHARE = 0.2
KEPT_BYTES = 2**28
"""A larger part is drawn anew each time."""


@dataclass(frozen=True, kw_only=True)
class ScenesSplit(Split):
    """Scenes, drawn when asked for."""

    rows: Int64
    """(n, 6): the attributes."""
    size: int

    def pixels(self, index: Int64) -> NDArray[np.uint8]:
        if len(self) * 3 * self.size**2 > KEPT_BYTES:
            return draw(self.rows[index], self.ids[index], self.size)
        kept, drawn = _kept(int(self.ids[0]), len(self), self.size)
        new = index[~drawn[index]]
        if len(new):
            kept[new] = draw(self.rows[new], self.ids[new], self.size)
            drawn[new] = True
        return kept[index]


@lru_cache(maxsize=6)
def _kept(first: int, n: int, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A part's pictures as far as this process drew them: all its runs share them."""
    return np.zeros((n, 3, size, size), np.uint8), np.zeros(n, bool)


def open_split(config: ScenesData, part: Part) -> ScenesSplit:
    """One part; training captions may be those of other scenes, or leave words out."""
    n = config.train if part == "train" else config.test
    ids, rows = _ids(part, n), attributes(part, n)
    captions = [caption(row) for row in rows]
    if part == "train":
        captions = _training_captions(config, ids, rows)
    return ScenesSplit(
        ids=ids,
        captions=tuple((c,) for c in captions),
        labels={name: rows[:, i].copy() for i, name in enumerate(ATTRIBUTES)},
        classes=dict(ATTRIBUTES),
        names=tuple(caption(row) for row in rows),
        rows=rows,
        size=config.size,
    )


def attributes(part: Part, n: int | None = None) -> Int64:
    """Rows of attribute indices, (n, 6) int64, of the first `n` scenes of a part."""
    if n is None:
        n = ScenesData().train if part == "train" else ScenesData().test
    ids = _ids(part, n)
    looks = _LOOKS if part == "test" else _LOOKS[~_held_out_looks()]
    row = rng.integers(rng.key("scenes", "looks"), ids, len(looks))
    side = rng.integers(rng.key("scenes", "side"), ids, 2)
    if part != "train":
        side = np.arange(n, dtype=np.int64) % 2
    return np.concatenate([looks[row], side[:, None]], axis=1)


def held_out(rows: Int64) -> NDArray[np.bool_]:
    """Whether training never shows these combinations, (n,) bool for rows (n, 6) or (n, 5)."""
    return _held_out_looks()[np.ravel_multi_index(tuple(rows[:, :5].T), _SIZES[:-1])]


def _ids(part: Part, n: int) -> rng.UInt64:
    return np.uint64(PARTS.index(part) << 32) + np.arange(n, dtype=np.uint64)


def _held_out_looks() -> NDArray[np.bool_]:
    """(336,): the fifth of the combinations that a keyed order puts first."""
    order = rng.permutation(rng.key("scenes", "held out"), len(_LOOKS))
    chosen = np.zeros(len(_LOOKS), bool)
    chosen[order[: round(_HELD_OUT_SHARE * len(_LOOKS))]] = True
    return chosen


def _training_captions(config: ScenesData, ids: rng.UInt64, rows: Int64) -> list[str]:
    wrong = rng.uniform(rng.key("scenes", "caption noise"), ids, 1)[:, 0] < config.caption_noise
    other = rng.integers(rng.key("scenes", "whose caption"), ids, len(ids))
    told = np.where(wrong[:, None], rows[other], rows)
    drawn = rng.uniform(rng.key("scenes", "words left out"), ids, len(ATTRIBUTES))
    said = drawn >= config.words_left_out
    return [caption(t, dict(zip(ATTRIBUTES, s, strict=True))) for t, s in zip(told, said)]
