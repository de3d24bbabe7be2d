"""Counter-based random numbers: a function of their purpose, and of nothing else.

A draw is determined by a key (seed, stream, purpose, epoch, view, ...) and a counter (sample id,
column), and computed by Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", SC 2011). It does not depend on the order of draws: data workers, resumed attempts and other
arms get the same numbers. All functions are vectorized over sample ids and keep no state.
"""

from __future__ import annotations

import json
import math
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from uniclip.io.hashing import hash_sample_id as hash_sample_id

UInt64 = NDArray[np.uint64]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ROUNDS = 10
FEISTEL_ROUNDS = 12
MAX_SORTED = 4096
"""Number of items up to which a `RandomOrder` is sorted."""


def derive_key(*parts: int | str | float | None) -> int:
    """Return the 64-bit key of `parts`; other parts, types or order give another key."""
    payload = json.dumps(parts, separators=(",", ":"), allow_nan=False)
    return int.from_bytes(blake2b(payload.encode(), digest_size=8).digest(), "little")


def philox(counter: tuple[UInt64, UInt64, UInt64, UInt64], key: int) -> tuple[UInt64, ...]:
    """Philox4x32-10: map four 32-bit words (in uint64, of one shape) to four 32-bit words."""
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
    """Return 32-bit words, (n, columns) uint64, for sample `ids` (n,) uint64 under `key`."""
    ids = np.asarray(ids, dtype=np.uint64)
    blocks = -(-columns // 4)
    block = np.arange(blocks, dtype=np.uint64)[None, :]
    low = np.broadcast_to((ids & _LOW)[:, None], (len(ids), blocks))
    high = np.broadcast_to((ids >> _HALF)[:, None], (len(ids), blocks))
    block = np.broadcast_to(block, (len(ids), blocks))
    random_words = philox((low, high, block, np.zeros_like(block)), key)
    return np.stack(random_words, axis=-1).reshape(len(ids), blocks * 4)[:, :columns]


def uniform(key: int, ids: UInt64, columns: int) -> NDArray[np.float64]:
    """Return uniform draws in [0, 1), (n, columns) float64; row i depends on `ids[i]` alone."""
    draws: NDArray[np.float64] = draw_words(key, ids, columns).astype(np.float64) * 2.0**-32
    return draws


def integers(key: int, ids: UInt64, high: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one draw from 0 .. high - 1 per id, (n,) int64; `high` may differ by sample."""
    return np.floor(uniform(key, ids, 1)[:, 0] * high).astype(np.int64)


def permutation(key: int, n: int) -> NDArray[np.int64]:
    """Return a permutation of 0 .. n - 1, (n,) int64.

    Equal 64-bit sort keys are left in index order.
    """
    random_words = draw_words(key, np.arange(n, dtype=np.uint64), 2)
    return np.argsort((random_words[:, 0] << _HALF) | random_words[:, 1], kind="stable")


class FeistelNetwork:
    """A pseudorandom permutation of 0 .. n - 1 that is evaluated only where it is asked for.

    The numbers are the cells (left, right) of a table of a = ceil(sqrt(n)) rows and b = ceil(n / a)
    columns. Each round adds to one half a random function of the other half, modulo its range, and
    so permutes the cells. A result of n or more (there are fewer than a) is permuted
    again until it is below n. These are the "generalized Feistel cipher" and the "cycle walking" of
    Black and Rogaway (Ciphers with arbitrary finite domains, CT-RSA 2002).

    The random functions are Philox words, as tables of a or b entries: 0.4 MB for 15 million
    numbers.

    Rounds: with three the permutation is pseudorandom, with four its inverse too (Luby and Rackoff,
    SIAM J. Comput. 1988), to one who looks at fewer than n^(1/4) of its values. An epoch looks at
    all. For n^(1 - epsilon) values more rounds are proven to do (Hoang and Rogaway, On generalized
    Feistel networks, CRYPTO 2010), and NIST SP 800-38G takes ten. We take twelve.

    Args:
        key: Key of the random stream.
        n: Number of numbers, at least 1.
    """

    def __init__(self, key: int, n: int) -> None:
        self._n, self._rows = n, math.isqrt(n - 1) + 1
        self._columns = -(-n // self._rows)
        halves = np.arange(self._rows, dtype=np.uint64)
        random_words = draw_words(key, halves, FEISTEL_ROUNDS)  # the columns are not more
        ranges = np.where(np.arange(FEISTEL_ROUNDS) % 2, self._columns, self._rows)
        terms = (random_words * ranges.astype(np.uint64)) >> _HALF
        self._terms = np.ascontiguousarray(terms.T).astype(np.int64)

    def permute(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the image of each of `numbers` (m,) int64, 0 .. n - 1."""
        permuted = self._permute_cells(numbers)
        while (outside := np.flatnonzero(permuted >= self._n)).size:
            permuted[outside] = self._permute_cells(permuted[outside])
        return permuted

    def _permute_cells(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        left, right = np.divmod(cells, self._columns)
        for terms_left, terms_right in zip(self._terms[::2], self._terms[1::2]):
            left += terms_left[right]
            left -= self._rows * (left >= self._rows)
            right += terms_right[left]
            right -= self._columns * (right >= self._columns)
        cells_permuted: NDArray[np.int64] = left * self._columns + right
        return cells_permuted


class RandomOrder:
    """A random order of n items, of which the items at any positions can be looked up.

    Up to `MAX_SORTED` items are sorted by random words; a network of few items is far from uniform
    (six items, twelve rounds: 0.02 in total variation). More are permuted by a `FeistelNetwork`,
    whose memory grows with the square root of n.
    """

    def __init__(self, key: int, n: int) -> None:
        self._n = n
        self._sorted = permutation(key, n) if n <= MAX_SORTED else None
        self._network = None if n <= MAX_SORTED else FeistelNetwork(key, n)

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, positions: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at `positions` (m,) int64, which are 0 .. n - 1, or at a slice."""
        if self._network is None:
            assert self._sorted is not None
            return self._sorted[positions]
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(self._n))
        return self._network.permute(positions)
