"""The training part of `data=mix`: pairs first, then each source of labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip.config import MixData
from uniclip.data.mix import digits, source
from uniclip.data.openmoji import source as openmoji
from uniclip.data.split import Portion, Split
from uniclip.rng import sample_id


@dataclass(frozen=True, kw_only=True)
class MixedSplit(Split):
    """Several splits, one after the other."""

    parts: tuple[Split, ...]
    """What it is made of."""
    taken: tuple[NDArray[np.int64], ...]
    """Which samples of each part."""
    size: int
    """Side of the canvas."""

    def pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        stops = np.cumsum([len(t) for t in self.taken])
        which = np.searchsorted(stops, index, side="right")
        pixels = np.empty((len(index), 3, self.size, self.size), np.uint8)
        for i, (part, taken) in enumerate(zip(self.parts, self.taken)):
            here = np.flatnonzero(which == i)
            pixels[here] = part.pixels(taken[index[here] - (stops[i] - len(taken))])
        return pixels


def open_train(config: MixData) -> MixedSplit:
    """Pairs with label -1, then labelled pictures; labels of two sources never coincide."""
    paired = openmoji.open_split(source.pairs(config), "train")
    parts: list[Split] = [paired]
    taken = [np.arange(len(paired))]
    captions, ids = list(paired.captions), [paired.ids]
    classes = [np.full(len(paired), -1, np.int64)]
    first = 0
    for name in config.labels:
        split, label = _labelled(config, name, paired)
        rows = np.flatnonzero(split.labels[label] >= 0)
        words = split.classes[label]
        prompts = [tuple(t.format(word.casefold()) for t in source.TEMPLATES) for word in words]
        captions += [prompts[c] for c in split.labels[label][rows]]
        ids.append(np.array([sample_id(f"mix/{name}/{i}") for i in split.ids[rows]], np.uint64))
        classes.append(split.labels[label][rows] + first)
        parts.append(split)
        taken.append(rows)
        first += len(words)
    total = sum(map(len, taken))
    return MixedSplit(
        ids=np.concatenate(ids),
        captions=tuple(captions),
        training_label=np.concatenate(classes),
        portions=(
            Portion(0, len(paired), 1 - config.share),
            Portion(len(paired), total, config.share),
        ),
        parts=tuple(parts),
        taken=tuple(taken),
        size=config.size,
    )


def _labelled(config: MixData, name: str, paired: Split) -> tuple[Split, str]:
    if name == "digits":
        return digits.open_split(config.size, "train", source.TEMPLATES), "digit"
    return paired, "category"
