"""An order that reads a few shards at a time."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.data.windowed_order import ShardGroups, WindowedOrder

SIZES = np.array([5, 1, 7, 3, 6000, 4, 2])
STARTS = np.concatenate([[0], np.cumsum(SIZES)])


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
def test_each_sample_comes_once_and_few_shards_at_a_time(window):
    order = WindowedOrder(3, SIZES, window)
    samples = order[:]
    assert sorted(samples.tolist()) == list(range(len(order))) == list(range(SIZES.sum()))
    shards = np.searchsorted(STARTS, samples, side="right") - 1
    position = 0
    while position < len(samples):
        block_shards = list(dict.fromkeys(shards[position:].tolist()))[:window]
        length = int(sum(SIZES[s] for s in block_shards))
        assert set(shards[position : position + length].tolist()) == set(block_shards)
        position += length


def test_any_positions_can_be_looked_up_and_keys_differ():
    order = WindowedOrder(3, SIZES, 2)
    samples = order[:]
    positions = np.array([6021, 0, 17, 17, 3000])
    assert order[positions].tolist() == samples[positions].tolist()
    assert order[10:20].tolist() == samples[10:20].tolist()
    assert WindowedOrder(3, SIZES, 2)[:].tolist() == samples.tolist()
    assert WindowedOrder(4, SIZES, 2)[:].tolist() != samples.tolist()


def test_groups_are_cut_to_a_share():
    groups = ShardGroups(np.array([0, 4, 4, 9]), 2)
    assert groups.count_samples(0, 9).tolist() == [4, 5]
    assert groups.count_samples(2, 6).tolist() == [2, 2]
