"""Random numbers that are a function of what they are for, and of nothing else.

Every draw is named by a key (seed, stream, purpose, epoch, view, ...) and a counter (sample id,
column), and comes from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). So a draw does not depend on who asks first: data workers, resumes and other arms see the
same numbers. All of it is vectorised over sample ids; nothing here keeps state.
"""

from __future__ import annotations

import json
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

UInt64 = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10


def derive_key(*parts: int | str | float | None) -> int:
    """The 64-bit key that `parts` name; other parts, types or order give another key."""
    payload = json.dumps(parts, separators=(",", ":"), allow_nan=False)
    return int.from_bytes(blake2b(payload.encode(), digest_size=8).digest(), "little")


def hash_sample_id(sample_name: str) -> int:
    """A stable 64-bit name for one sample, from its own text name."""
    return int.from_bytes(
        blake2b(sample_name.encode(), digest_size=8, person=b"sample").digest(), "little"
    )


def philox(counter: tuple[UInt64, UInt64, UInt64, UInt64], key: int) -> tuple[UInt64, ...]:
    """Philox4x32-10: four 32-bit words (held in uint64, any one shape) to four 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(_ROUNDS):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> _HALF) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _HALF) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draw_words(key: int, ids: UInt64, columns: int) -> UInt64:
    """32-bit words, (n, columns) uint64, for sample `ids` (n,) uint64 under `key_`."""
    ids = np.asarray(ids, dtype=np.uint64)
    blocks = -(-columns // 4)
    block = np.arange(blocks, dtype=np.uint64)[None, :]
    low = np.broadcast_to((ids & _LOW)[:, None], (len(ids), blocks))
    high = np.broadcast_to((ids >> _HALF)[:, None], (len(ids), blocks))
    block = np.broadcast_to(block, (len(ids), blocks))
    random_words = philox((low, high, block, np.zeros_like(block)), key)
    return np.stack(random_words, axis=-1).reshape(len(ids), blocks * 4)[:, :columns]


def uniform(key: int, ids: UInt64, columns: int) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), (n, columns) float64; row i belongs to `ids[i]` alone."""
    draws: NDArray[np.float64] = draw_words(key, ids, columns).astype(np.float64) * 2.0**-32
    return draws


def integers(key: int, ids: UInt64, high: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """One draw from 0 .. high - 1 for each of `ids`, (n,) int64; `high` may differ by sample."""
    return np.floor(uniform(key, ids, 1)[:, 0] * high).astype(np.int64)


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """An order of 0 .. n - 1, (n,) int64 (ties of the 64-bit sort key fall in index order)."""
    random_words = draw_words(key, np.arange(n, dtype=np.uint64), 2)
    return np.argsort((random_words[:, 0] << _HALF) | random_words[:, 1], kind="stable")
