"""How large the images of indexed shards are, from the headers of some of them."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from uniclip.data.csv.image_sizes import NUM_HEADERS, describe_short_sides
from uniclip.data.webdataset.index import ShardIndex
from uniclip.data.webdataset.shard_files import ShardFiles
from uniclip.io.image_header import read_short_side
from uniclip.io.memo import disk_memoize
from uniclip.io.tar_scan import BLOCK


def describe_small_images(index: ShardIndex, input_size: int) -> list[str]:
    """Return a sentence if images are smaller than the input of the image encoder.

    Args:
        index: The pairs.
        input_size: Side of the encoder's input, in pixels.
    """
    num_chosen = min(NUM_HEADERS, len(index))
    rows = np.linspace(0, len(index) - 1, num_chosen).astype(np.int64)
    key = f"{index.folder.name}-{num_chosen}"
    sides = disk_memoize("image-sizes", key, partial(_read_short_sides, index, rows))
    return describe_short_sides([int(side) for side in sides], num_chosen == len(index), input_size)


def _read_short_sides(index: ShardIndex, rows: NDArray[np.int64]) -> list[int]:
    """Return the shorter side of the image of each sample, in pixels; 0 for an unreadable one."""
    files = ShardFiles(index.shards)
    return [
        read_short_side(
            partial(files.read, shard), int(index.blocks[row]) * BLOCK, int(index.lengths[row])
        )
        for row, shard in zip(rows.tolist(), index.find_shards(rows).tolist())
    ]
