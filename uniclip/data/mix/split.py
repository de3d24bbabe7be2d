"""The training split of `data=mix`: pairs first, then each source of labelled images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip.config import MixData
from uniclip.data.mix import digits
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config
from uniclip.data.openmoji import source as openmoji
from uniclip.data.split import SourceShare, Split
from uniclip.rng import hash_sample_id


@dataclass(frozen=True, kw_only=True)
class MixSplit(Split):
    """Samples of several splits, one after the other."""

    source_splits: tuple[Split, ...]
    """The splits that the samples come from."""
    source_rows: tuple[NDArray[np.int64], ...]
    """(n_i,) for each of them: its samples in this split."""
    image_size: int
    """Side of the source images, in pixels."""

    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        stops = np.cumsum([len(t) for t in self.source_rows])
        source_index = np.searchsorted(stops, index, side="right")
        pixels = np.empty((len(index), 3, self.image_size, self.image_size), np.uint8)
        for i, (source_split, rows) in enumerate(zip(self.source_splits, self.source_rows)):
            positions = np.flatnonzero(source_index == i)
            pixels[positions] = source_split.load_pixels(
                rows[index[positions] - (stops[i] - len(rows))]
            )
        return pixels


def open_train_split(config: MixData) -> MixSplit:
    """Return pairs with label -1, then labelled images; labels of two sources never coincide."""
    pairs_split = openmoji.open_split(build_pairs_config(config), "train")
    source_splits: list[Split] = [pairs_split]
    source_rows = [np.arange(len(pairs_split))]
    captions, ids = list(pairs_split.captions), [pairs_split.ids]
    training_labels = [np.full(len(pairs_split), -1, np.int64)]
    class_offset = 0
    for name in config.label_sources:
        split, labelling = _open_labelled_source(config, name, pairs_split)
        rows = np.flatnonzero(split.labels[labelling] >= 0)
        class_names = split.class_names[labelling]
        prompts = [
            tuple(template.format(class_name.casefold()) for template in PROMPT_TEMPLATES)
            for class_name in class_names
        ]
        captions += [prompts[class_index] for class_index in split.labels[labelling][rows]]
        ids.append(
            np.array([hash_sample_id(f"mix/{name}/{i}") for i in split.ids[rows]], np.uint64)
        )
        training_labels.append(split.labels[labelling][rows] + class_offset)
        source_splits.append(split)
        source_rows.append(rows)
        class_offset += len(class_names)
    total = sum(map(len, source_rows))
    return MixSplit(
        ids=np.concatenate(ids),
        captions=tuple(captions),
        training_labels=np.concatenate(training_labels),
        source_shares=(
            SourceShare(0, len(pairs_split), 1 - config.labelled_fraction, "the pairs"),
            SourceShare(len(pairs_split), total, config.labelled_fraction, "the labelled images"),
        ),
        source_splits=tuple(source_splits),
        source_rows=tuple(source_rows),
        image_size=config.image_size,
    )


def _open_labelled_source(config: MixData, name: str, pairs_split: Split) -> tuple[Split, str]:
    if name == "digits":
        return digits.open_split(config.image_size, "train", PROMPT_TEMPLATES), "digit"
    return pairs_split, "category"
