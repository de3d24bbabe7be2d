"""Image features of a split that the processes of a run embed together.

Each process writes its share into a folder that lasts for one evaluation; rank 0, which computes
the scores, embeds what is not there. Images are embedded in the batches of a single process, so
that the features are equal to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.cache import EMBED_BATCH_SIZE, Cache, select_share

if TYPE_CHECKING:
    from uniclip.data import Split, SplitName

Float32 = NDArray[np.float32]
Rows = NDArray[np.int64]
Embed = Callable[[Rows], Float32]
"""Returns the features (m, F) of images, given their positions (m,) among all of them."""


@dataclass(frozen=True)
class FeatureShares:
    """The shares of an evaluation, or of one of its splits.

    Images of several splits may have the same ids, such as those of files with the same names.
    """

    folder: Path

    def select_split(self, split_name: SplitName) -> FeatureShares:
        """Return the shares of a split."""
        return FeatureShares(self.folder / split_name)

    def find(self, split: Split, images: Rows, batch_size: int) -> SharedRows:
        """Return the features of the images (n,) of a split, of which `batch_size` are embedded at
        once."""
        name = blake2b(split.ids[images].tobytes(), digest_size=16).hexdigest()
        return SharedRows(Cache(self.folder), name, len(images), batch_size)


@dataclass(frozen=True)
class SharedRows:
    """The features of n images, in parts that processes share."""

    cache: Cache
    name: str
    """Digest of the ids of the images."""
    num_images: int
    batch_size: int
    """Images in one forward pass: parts are cut between passes."""

    def embed_share(self, blocks: list[Rows], embed: Embed, rank: int, world_size: int) -> None:
        """Embed and store the share of a process.

        Args:
            blocks: Positions of the images that a single process loads at once.
            embed: Embeds images.
            rank: Number of the process.
            world_size: Number of processes.
        """
        parts = [part for block in blocks for part in self._divide(block)]
        for part in select_share(parts, rank, world_size):
            self.store(part, embed(part))

    def read_or_embed(self, block: Rows, embed: Embed) -> Float32:
        """Return the features of images that are loaded at once; what is not stored is embedded."""
        parts = [*self._divide(block)]
        stored = [self.read(part) for part in parts]
        if all(rows is None for rows in stored):
            return embed(block)
        return np.concatenate(
            [embed(part) if rows is None else rows for part, rows in zip(parts, stored)]
        )

    def read(self, part: Rows) -> Float32 | None:
        """Return the features at neighboring positions, or None if they are not stored."""
        return self.cache.read_rows(self._build_key(part), len(part))

    def store(self, part: Rows, features: Float32) -> None:
        """Store the features at neighboring positions."""
        self.cache.get_or_embed(
            self._build_key(part), len(part), lambda index: features[index[0] : index[-1] + 1]
        )

    def _divide(self, block: Rows) -> Iterator[Rows]:
        """Yield the parts of a block: some whole forward passes each."""
        size = max(1, EMBED_BATCH_SIZE // self.batch_size) * self.batch_size
        yield from (block[start : start + size] for start in range(0, len(block), size))

    def _build_key(self, part: Rows) -> dict[str, Any]:
        return {"images": self.name, "rows": [int(part[0]), int(part[-1]) + 1]}
