"""The samples of one split of a large table, in files that are mapped into memory.

A sample takes 20 bytes beside its texts: 24 if it has several captions, and 8 more with a label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.csv.row_arrays import map_texts
from uniclip.data.text.packed_tokens import PackedTokens
from uniclip.io.array_file import has_array, map_array
from uniclip.io.lazy_sequence import LazySequence
from uniclip.io.packed_texts import PackedTexts


@dataclass(frozen=True, kw_only=True)
class SplitSizes:
    """Lengths of the arrays of a split."""

    num_samples: int
    num_captions: int
    path_bytes: int
    caption_bytes: int

    def list_arrays(self, *, has_labels: bool) -> dict[str, tuple[Any, int]]:
        """Return the name of each array -> type and number of its elements."""
        arrays: dict[str, tuple[Any, int]] = {
            "ids": (np.uint64, self.num_samples),
            "lines": (np.uint32, self.num_samples),
            "paths": (np.uint8, self.path_bytes),
            "paths_ends": (choose_ends_dtype(self.path_bytes), self.num_samples),
            "captions": (np.uint8, self.caption_bytes),
            "captions_ends": (choose_ends_dtype(self.caption_bytes), self.num_captions),
        }
        if self.num_captions > self.num_samples:
            arrays["caption_stops"] = (np.uint32, self.num_samples)
        if has_labels:
            arrays["labels"] = (np.int64, self.num_samples)
        return arrays


def choose_ends_dtype(num_bytes: int) -> type[np.uint32 | np.uint64]:
    """Return the type of the ends of texts that have so many bytes together."""
    return np.uint32 if num_bytes < 2**32 else np.uint64


@dataclass(frozen=True)
class PackedSplit:
    """The n samples of a split, with m captions (`packed_tokens.CaptionIndex`)."""

    folder: Path
    sizes: SplitSizes

    def __len__(self) -> int:
        return self.sizes.num_samples

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without arrays: another process maps its own."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def is_whole(self, *, has_labels: bool) -> bool:
        """Return whether all files are there, complete."""
        arrays = self.sizes.list_arrays(has_labels=has_labels)
        return all(has_array(self.folder / f"{n}.npy", *array) for n, array in arrays.items())

    @cached_property
    def ids(self) -> rng.UInt64:
        """(n,): see `Split`."""
        return map_array(self.folder / "ids.npy")

    @cached_property
    def lines(self) -> NDArray[np.uint32]:
        """(n,) line of the first row of each sample."""
        return map_array(self.folder / "lines.npy")

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(n,) class of each sample, -1 for none."""
        return map_array(self.folder / "labels.npy")

    @cached_property
    def paths(self) -> PackedTexts:
        """Path of the image of each sample, as the table has it."""
        return map_texts(self.folder, "paths")

    @cached_property
    def captions(self) -> PackedTexts:
        """The m captions, by sample."""
        return map_texts(self.folder, "captions")

    @cached_property
    def caption_stops(self) -> NDArray[np.uint32] | None:
        """(n,) number of the captions up to those of each sample; None = each has one."""
        if self.sizes.num_captions == self.sizes.num_samples:
            return None
        return map_array(self.folder / "caption_stops.npy")

    def find_captions(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of the first caption of each sample, and how many it has."""
        if self.caption_stops is None:
            return index, np.ones(len(index), np.int64)
        stops = self.caption_stops[index].astype(np.int64)
        starts = np.where(index > 0, self.caption_stops[np.maximum(index - 1, 0)], 0)
        return starts, stops - starts

    def count_captions(self) -> int:
        """Return m."""
        return self.sizes.num_captions

    def iterate_captions(self, start: int, stop: int) -> Iterator[str]:
        """Yield the captions from `start` to `stop`."""
        ends = self.captions.ends[start:stop].tolist()
        first = int(self.captions.ends[start - 1]) if start else 0
        content = self.captions.content[first : ends[-1] if ends else first].tobytes()
        position = 0
        for end in ends:
            yield content[position : end - first].decode()
            position = end - first


@dataclass(frozen=True, eq=False)
class CaptionLists(LazySequence[tuple[str, ...]]):
    """The captions of each of some samples of a split, read where they are asked for."""

    split: PackedSplit
    samples: range

    def __len__(self) -> int:
        return len(self.samples)

    def get_slice(self, items: slice) -> Sequence[tuple[str, ...]]:
        return CaptionLists(self.split, self.samples[items])

    def get_item(self, i: int) -> tuple[str, ...]:
        starts, counts = self.split.find_captions(np.array([self.samples[i]]))
        first = int(starts[0])
        return tuple(self.split.captions[k] for k in range(first, first + int(counts[0])))


@dataclass(frozen=True, eq=False)
class ImagePaths(LazySequence[str]):
    """The files of images in a folder, of which only the paths below it are in memory."""

    folder: Path
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def get_slice(self, items: slice) -> Sequence[str]:
        return ImagePaths(self.folder, self.paths[items])

    def get_item(self, i: int) -> str:
        return str(self.folder / self.paths[i])


@dataclass(frozen=True, eq=False)
class ChosenTokens:
    """The tokens of one of the captions of each sample (`caption_tokens.CaptionTokens`)."""

    packed: PackedTokens
    split: PackedSplit

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of one caption for each sample, cut to the longest."""
        starts, counts = self.split.find_captions(index)
        return self.packed.take(starts + rng.integers(key, ids, counts))
