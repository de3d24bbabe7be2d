"""The ids of the samples of several sources, whose images may have the same names.

The first sample of every download by img2dataset is called 000000000.
"""

from __future__ import annotations

import numpy as np

from uniclip import rng

CHUNK_SIZE = 2**18
"""Ids that are hashed at once."""
_HALF = np.uint64(32)


def add_source(name_ids: rng.UInt64, source: int) -> rng.UInt64:
    """Return the ids (n,) of the samples of a source.

    Args:
        name_ids: (n,) hashes of the names of their images.
        source: Number of the source, which is hashed into the ids from the second on (1, 2, ...).
    """
    if not source:
        return name_ids
    key, ids = rng.derive_key("source of a sample", source), np.empty(len(name_ids), np.uint64)
    for start in range(0, len(ids), CHUNK_SIZE):
        words = rng.draw_words(key, name_ids[start : start + CHUNK_SIZE], 2)
        ids[start : start + CHUNK_SIZE] = (words[:, 0] << _HALF) | words[:, 1]
    return ids
