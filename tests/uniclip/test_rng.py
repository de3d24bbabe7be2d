"""Random numbers: the published vectors, independence from the batch, and their distribution."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse, stats

from uniclip import rng

# Random123 distribution, kat_vectors, "philox4x32 10": counter, key, answer.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    words = tuple(np.array([int(w, 16)], dtype=np.uint64) for w in counter.split())
    low, high = (int(w, 16) for w in key.split())
    drawn = rng.philox(words, low | high << 32)
    assert " ".join(f"{int(w[0]):08x}" for w in drawn) == answer


def test_words_count_blocks_by_sample_and_column() -> None:
    """words(key, ids, 8): column block b of sample s is Philox of (s low, s high, b, 0)."""
    sample = 0x1234567_89ABCDEF
    counter = (sample & 0xFFFFFFFF, sample >> 32, 1, 0)
    expected = rng.philox(tuple(np.array([c], dtype=np.uint64) for c in counter), 99)
    drawn = rng.draw_words(99, np.array([7, sample], dtype=np.uint64), 8)
    assert drawn.shape == (2, 8)
    assert drawn[1, 4:].tolist() == [int(w[0]) for w in expected]


def test_a_draw_does_not_depend_on_who_else_is_in_the_batch() -> None:
    key = rng.derive_key(3, "views", 0)
    ids = np.array([rng.hash_sample_id(f"picture {i}") for i in range(64)], dtype=np.uint64)
    together = rng.uniform(key, ids, 7)
    alone = np.concatenate([rng.uniform(key, ids[i : i + 1], 7) for i in range(64)])
    order = np.random.default_rng(0).permutation(64)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together[order], rng.uniform(key, ids[order], 7))
    np.testing.assert_array_equal(together[:, :3], rng.uniform(key, ids, 3))


def test_uniform_draws_are_uniform_over_samples_columns_and_keys() -> None:
    ids = np.arange(4000, dtype=np.uint64)
    drawn = {
        "samples": rng.uniform(rng.derive_key("chi2"), ids, 8).ravel(),
        "keys": np.array(
            [rng.uniform(rng.derive_key("chi2", i), ids[:1], 1)[0, 0] for i in range(4000)]
        ),
    }
    for about, values in drawn.items():
        assert values.min() >= 0, about
        assert values.max() < 1, about
        counts = np.histogram(values, bins=64, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-4, about


def test_neighbouring_samples_columns_and_epochs_are_uncorrelated() -> None:
    ids = np.arange(20_000, dtype=np.uint64)
    one, two = (
        rng.uniform(rng.derive_key(0, "crop", 0), ids, 2),
        rng.uniform(rng.derive_key(0, "crop", 1), ids, 2),
    )
    pairs = [(one[:-1, 0], one[1:, 0]), (one[:, 0], one[:, 1]), (one[:, 0], two[:, 0])]
    for left, right in pairs:
        assert abs(np.corrcoef(left, right)[0, 1]) < 0.03


def test_keys_differ_by_value_type_order_and_grouping() -> None:
    parts = [
        (1, 2), (2, 1), ("1", 2), (1, "2"), (1.0, 2), (12,), ("12",), (1, 2, None), (None, 1, 2),
        (1, 2, ""), ("1,2",), (), ("",), (True, 2), (-1, 2),
    ]  # fmt: skip
    keys = [rng.derive_key(*p) for p in parts]
    assert all(0 <= k < 2**64 for k in keys)
    for (a, one), (b, two) in itertools.combinations(zip(parts, keys), 2):
        assert one != two, (a, b)


def test_a_key_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        rng.derive_key(0, float("nan"))


def test_keys_and_sample_ids_are_what_they_were() -> None:
    """Changing these orphans every run: known answers, not a property."""
    assert f"{rng.derive_key(0, 'init', 'image_encoder'):016x}" == "73e5476b898808ad"
    assert f"{rng.hash_sample_id('1F600'):016x}" == "0a5ffc5761d4d93a"


def test_integers_cover_their_range_evenly_and_may_differ_by_sample() -> None:
    ids = np.arange(6000, dtype=np.uint64)
    drawn = rng.integers(rng.derive_key("die"), ids, 6)
    assert drawn.dtype == np.int64
    assert stats.chisquare(np.bincount(drawn, minlength=6)).pvalue > 1e-4
    high = 1 + (ids % 5).astype(np.int64)
    each = rng.integers(rng.derive_key("die"), ids, high)
    assert ((each >= 0) & (each < high)).all()
    assert set(each[high == 5]) == set(range(5))


@pytest.mark.parametrize("n", [0, 1, 2, 17, 1000])
def test_a_permutation_is_one_and_depends_on_its_key(n: int) -> None:
    order = rng.permutation(rng.derive_key("order", 0), n)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, rng.permutation(rng.derive_key("order", 0), n))
    if n > 2:
        assert order.tolist() != rng.permutation(rng.derive_key("order", 1), n).tolist()


def test_every_order_of_three_comes_up_as_often() -> None:
    seen = [tuple(rng.permutation(rng.derive_key("three", i), 3)) for i in range(3000)]
    counts = [seen.count(p) for p in itertools.permutations(range(3))]
    assert sum(counts) == 3000
    assert stats.chisquare(counts).pvalue > 1e-4


# ---- random order, looked up by position ---------------------------------------------------------

SIZES = [1, 2, 3, 6, 7, 9, 1000, 4096, 4097, 2**13 - 1, 2**13, 2**13 + 1, 90_001]
PERMUTATIONS = {
    "order": lambda key, n: rng.RandomOrder(key, n)[:],
    "network": lambda key, n: rng.FeistelNetwork(key, n).permute(np.arange(n)),
}


@pytest.mark.parametrize("kind", PERMUTATIONS)
@pytest.mark.parametrize("n", SIZES)
def test_an_order_holds_each_item_once_and_depends_on_its_key(n: int, kind: str) -> None:
    permute = PERMUTATIONS[kind]
    items = permute(rng.derive_key("epoch order", 0), n)
    assert items.dtype == np.int64
    np.testing.assert_array_equal(np.sort(items), np.arange(n))
    if n > 6:
        assert items.tolist() != permute(rng.derive_key("epoch order", 1), n).tolist()


@pytest.mark.parametrize("n", [1, 7, 4096, 4097, 10_007])
def test_an_item_is_found_without_those_before_it(n: int) -> None:
    key = rng.derive_key("epoch order", 3)
    items, order = rng.RandomOrder(key, n)[:], rng.RandomOrder(key, n)
    assert len(order) == n
    positions = np.random.default_rng(0).integers(0, n, 50)
    np.testing.assert_array_equal(order[positions], items[positions])
    assert [int(order[np.array([i])][0]) for i in positions[:9]] == items[positions[:9]].tolist()
    for part in (slice(n // 3, n // 2), slice(n - 1, None), slice(n, None), slice(0, n + 5)):
        np.testing.assert_array_equal(order[part], items[part])


def test_a_long_order_is_a_network_of_constant_memory() -> None:
    """Fifteen million items: the parts of the order are drawn without a table of it."""
    order = rng.RandomOrder(rng.derive_key("epoch order", 0), n := 15_061_515)
    assert order._sorted is None
    assert order._network is not None
    assert order._network._terms.nbytes < 2**19
    items = np.concatenate([order[i : i + 2000] for i in range(0, n, 500_000)])
    assert 0 <= items.min() < items.max() < n
    assert len(set(items.tolist())) == len(items)


def test_items_and_pairs_of_a_network_are_uniform() -> None:
    """Over keys, for a table of 5 by 5 cells of which two are left out."""
    n, num_keys = 23, 6000
    permute = PERMUTATIONS["network"]
    drawn = np.stack([permute(rng.derive_key("law", i), n) for i in range(num_keys)])
    for position in (0, 1, 5, 22):
        counts = np.bincount(drawn[:, position], minlength=n)
        assert stats.chisquare(counts).pvalue > 1e-4, position
    for one, two in ((0, 1), (0, 5), (21, 22)):
        counts = np.bincount(drawn[:, one] * n + drawn[:, two], minlength=n * n).reshape(n, n)
        assert not counts.diagonal().any()
        assert stats.chisquare(counts[~np.eye(n, dtype=bool)]).pvalue > 1e-4, (one, two)


def test_an_order_has_the_cycles_of_a_random_one() -> None:
    """Their number is about H(n), with variance H(n) - pi^2 / 6, and one item stays in place."""
    n, num_keys = 4500, 150
    num_cycles, num_fixed = [], 0
    for i in range(num_keys):
        items = rng.RandomOrder(rng.derive_key("cycles", i), n)[:]
        graph = sparse.csr_array((np.ones(n), (np.arange(n), items)), (n, n))
        num_cycles.append(sparse.csgraph.connected_components(graph, directed=False)[0])
        num_fixed += int((items == np.arange(n)).sum())
    harmonic = np.log(n) + np.euler_gamma
    error = np.sqrt((harmonic - np.pi**2 / 6) / num_keys)
    assert abs(np.mean(num_cycles) - harmonic) < 4 * error
    assert abs(num_fixed - num_keys) < 4 * np.sqrt(num_keys)


def test_neighbours_in_an_order_are_unrelated() -> None:
    """Neither steps of a line, nor rows or columns of the table, nor the order of another epoch."""
    n = 100_003
    items = rng.RandomOrder(rng.derive_key("lines", 0), n)[:]
    other = rng.RandomOrder(rng.derive_key("lines", 1), n)[:]
    side = int(np.ceil(np.sqrt(n)))
    for lag in (1, 2, side - 1, side, side + 1, n // 2):
        steps = (items - np.roll(items, lag)) % n
        counts = np.bincount(steps * 64 // n, minlength=64)
        assert stats.chisquare(counts).pvalue > 1e-4, lag
        second_differences = (steps - np.roll(steps, lag)) % n
        counts = np.bincount(second_differences * 64 // n, minlength=64)
        assert stats.chisquare(counts).pvalue > 1e-4, lag
        assert abs(np.corrcoef(items, np.roll(items, lag))[0, 1]) < 0.013
    assert abs(np.corrcoef(items, other)[0, 1]) < 0.013
    counts = np.bincount((items - other) % n * 64 // n, minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-4
    halves = np.bincount((items // side % 8) * 8 + np.arange(n) // side % 8, minlength=64)
    assert stats.chisquare(halves, halves.sum() / 64 * np.ones(64)).pvalue > 1e-4
