"""The training split of pairs and labelled images: the pairs first, then each labelled source."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config import WebdatasetData
from uniclip.data.image_files import ImageFileSplit
from uniclip.data.text.caption_tokens import CaptionTokens, TokenTable
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.data.webdataset.assignment import divide_batch, identify_training_samples
from uniclip.data.webdataset.labelled_images import LabelledImages, open_labelled_images
from uniclip.data.webdataset.labelled_sources import describe_labelled
from uniclip.data.webdataset.split import WebdatasetSplit
from uniclip.data.windowed_order import ShardGroups
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import digest
from uniclip.io.lazy_sequence import LazySequence
from uniclip.io.published_folder import get_or_publish

VERSION = 1
"""Raised when the same images get other ids or labels."""
IDS_FILE, LABELS_FILE, CLASSES_FILE = "ids.npy", "labels.npy", "classes.json"
NO_LABEL = -1


@dataclass(frozen=True, kw_only=True)
class MixedSplit(ImageFileSplit):
    """Samples of several splits, one after the other: pairs, then labelled images."""

    parts: tuple[ImageFileSplit, ...]
    prompts: tuple[tuple[str, ...], ...]
    """The captions of each class."""

    def name_image(self, i: int) -> str:
        """Return where an image is."""
        part, k = self._locate(i)
        return part.name_image(k)

    def get_image_file(self, i: int) -> Path | BytesIO:
        """Return the file of an image, or its content."""
        part, k = self._locate(i)
        return part.get_image_file(k)

    def encode_captions(self, tokenizer: Tokenizer, context_length: int) -> CaptionTokens:
        """Return the tokens of the captions of pairs, and of the prompts of each class."""
        assert self.training_labels is not None
        return MixedTokens(
            self.parts[0].encode_captions(tokenizer, context_length),
            TokenTable(self.prompts, tokenizer, context_length),
            self.training_labels,
            tokenizer.pad,
        )

    def _locate(self, i: int) -> tuple[ImageFileSplit, int]:
        """Return the part of a sample, and its number there."""
        for part in self.parts:
            if i < len(part):
                break
            i -= len(part)
        return part, i


@dataclass(frozen=True, eq=False)
class MixedCaptions(LazySequence[tuple[str, ...]]):
    """The captions of pairs, and the prompts of labelled images."""

    pairs: Sequence[tuple[str, ...]]
    prompts: tuple[tuple[str, ...], ...]
    """The captions of each class."""
    labels: NDArray[np.int32]
    """(n,) the class of each sample; -1 for pairs, which come first."""

    def __len__(self) -> int:
        return len(self.labels)

    def get_item(self, i: int) -> tuple[str, ...]:
        i = range(len(self))[i]
        return self.pairs[i] if i < len(self.pairs) else self.prompts[self.labels[i]]


@dataclass(frozen=True, eq=False)
class MixedTokens:
    """The tokens of pairs and labelled images (`caption_tokens.CaptionTokens`)."""

    pair_tokens: CaptionTokens
    prompt_tokens: TokenTable
    """The tokens of the prompts of each class."""
    labels: NDArray[np.int32]
    """(n,) the class of each sample; -1 for pairs, which come first."""
    pad: int

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of each sample, cut to the longest: of one of its prompts."""
        labels = self.labels[index].astype(np.int64)
        is_pair = labels == NO_LABEL
        drawn = []
        if is_pair.any():
            drawn.append((is_pair, self.pair_tokens.draw(key, ids[is_pair], index[is_pair])))
        if not is_pair.all():
            rows = ~is_pair
            drawn.append((rows, self.prompt_tokens.draw(key, ids[rows], labels[rows])))
        length = max(tokens.shape[1] for _, tokens in drawn)
        mixed = np.full((len(index), length), self.pad, np.int64)
        for rows, tokens in drawn:
            mixed[rows, : tokens.shape[1]] = tokens
        return mixed


def mix_labelled_images(config: WebdatasetData, pairs: WebdatasetSplit) -> MixedSplit:
    """Return the training split of pairs and of the labelled images of a data section.

    Classes of the same name are one class, also of different sources.

    Raises:
        UserError: Labelled images are missing, or cannot be used.
    """
    sources = open_labelled_images(config)
    folder = _publish_labels(config, pairs, sources)
    ids, labels = map_array(folder / IDS_FILE), map_array(folder / LABELS_FILE)
    class_names = json.loads((folder / CLASSES_FILE).read_text(encoding="utf-8"))
    prompts = tuple(
        tuple(template.format(name) for template in config.label_templates) for name in class_names
    )
    parts: list[ImageFileSplit] = [pairs]
    bounds = np.cumsum([len(pairs), *map(len, sources)]).tolist()
    for images, start, stop in zip(sources, bounds, bounds[1:]):
        parts.append(images.open_split(config, ids[start:stop]))
    num_broken = sum(images.num_broken for images in sources)
    assert pairs.num_samples is not None
    num_samples = pairs.num_samples + sum(map(len, sources)) + num_broken
    return MixedSplit(
        ids=ids,
        captions=MixedCaptions(pairs.captions, prompts, labels),
        training_labels=labels,
        source_shares=tuple(divide_batch(config, pairs.source_shares, len(pairs), bounds[-1])),
        shard_groups=_join_groups(pairs.shard_groups, sources),
        parts=tuple(parts),
        prompts=prompts,
        image_size=config.image_size,
        max_broken=config.max_broken,
        num_allowed=config.count_allowed_broken(num_samples),
        num_samples=num_samples,
        num_skipped=pairs.num_skipped + num_broken,
    )


def _join_groups(
    pair_groups: ShardGroups | None, sources: Sequence[LabelledImages]
) -> ShardGroups | None:
    """Return the samples that are shuffled together: of a shard, or of a source of folders."""
    if pair_groups is None:
        return None
    starts = pair_groups.first_samples
    for images in sources:
        groups = np.array([0, len(images)]) if images.folders else images.get_group_starts()
        starts = np.concatenate([starts, starts[-1] + groups[1:]])
    return ShardGroups(starts, pair_groups.window)


def _publish_labels(
    config: WebdatasetData, pairs: WebdatasetSplit, sources: Sequence[LabelledImages]
) -> Path:
    """Return the folder with id and class of every sample, and the names of the classes."""
    content = [
        [VERSION, *identify_training_samples(config)[1:]],
        describe_labelled(config),
        [None if images.index is None else images.index.folder.name for images in sources],
    ]
    folder = pairs.index.folder.with_name(f"{pairs.index.folder.name}-mixed-{digest(content, 32)}")
    num_samples = len(pairs) + sum(map(len, sources))

    def is_whole(folder: Path) -> bool:
        return (
            has_array(folder / IDS_FILE, np.uint64, num_samples)
            and has_array(folder / LABELS_FILE, np.int32, num_samples)
            and (folder / CLASSES_FILE).is_file()
        )

    get_or_publish(folder, partial(_write_labels, pairs, sources), is_whole)
    return folder


def _write_labels(pairs: WebdatasetSplit, sources: Sequence[LabelledImages], folder: Path) -> None:
    label_of_name: dict[str, int] = {}
    with (
        ArrayWriter(folder / IDS_FILE, np.uint64) as ids_writer,
        ArrayWriter(folder / LABELS_FILE, np.int32) as labels_writer,
    ):
        ids_writer.append(pairs.ids)
        labels_writer.append(np.full(len(pairs), NO_LABEL, np.int32))
        for images in sources:
            names = images.name_classes()
            labels = {
                key: label_of_name.setdefault(name, len(label_of_name))
                for key, name in names.items()
            }
            ids_writer.append(images.get_ids())
            keys = images.iterate_classes()
            labels_writer.append(np.fromiter((labels[key] for key in keys), np.int32, len(images)))
    atomic_write(folder / CLASSES_FILE, json.dumps(list(label_of_name)).encode())
