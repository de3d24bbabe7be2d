"""Tiles: every pair once, in tiles of bounded size, without the pairs that are left out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.loss_batches import run_with_tile_sizes, tile_sizes
from uniclip.losses.tiling import BlockLayout, BlockPair, cut_tiles, group_by_rows, split_range


def build_layout(n, split):
    """Two blocks, all pairs compared but those of a row with itself."""
    diagonal = torch.arange(n)
    return BlockLayout(
        blocks=((0, split), (split, n)),
        block_pairs=tuple(BlockPair(a, b, 0) for a, b in ((0, 0), (0, 1), (1, 1))),
        masked_pairs=(diagonal, diagonal),
        positive_index=diagonal[:, None],
        is_empty=torch.zeros(2, n, dtype=torch.bool),
    )


@given(st.integers(1, 40), tile_sizes())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_tiles_compare_each_pair_once(n, sizes):
    tile_rows, aspect, _ = sizes
    layout = build_layout(n, n // 3)
    num_comparisons = torch.zeros(n, n, dtype=torch.int64)
    for tile in run_with_tile_sizes(sizes, lambda rows: cut_tiles(layout, rows)):
        counts = torch.ones_like(num_comparisons[tile.rows, tile.columns])
        if tile.masked_pairs is not None:
            counts[tile.masked_pairs] = 0
        assert counts.shape[0] <= tile_rows
        assert counts.shape[1] <= max(aspect, 1) * tile_rows
        num_comparisons[tile.rows, tile.columns] += counts
        if not tile.is_diagonal:
            num_comparisons[tile.columns, tile.rows] += counts.T
    assert torch.equal(num_comparisons, 1 - torch.eye(n, dtype=torch.int64))


def test_tiles_of_one_row_follow_each_other_and_the_diagonal_one_is_first():
    tiles = cut_tiles(build_layout(23, 9), 4)
    groups = list(group_by_rows(tiles))
    assert [tile for _, row_tiles in groups for tile in row_tiles] == tiles
    keys = [(rows.start, rows.stop, row_tiles[0].block_pair) for rows, row_tiles in groups]
    assert len(set(keys)) == len(keys)
    for rows, row_tiles in groups:
        assert all(tile.rows == rows for tile in row_tiles)
        assert [tile.is_diagonal for tile in row_tiles][1:] == [False] * (len(row_tiles) - 1)


@pytest.mark.parametrize(("stop", "sizes"), [(2, []), (3, [1]), (9, [3, 3, 1])])
def test_ranges_are_split_into_pieces_of_which_the_last_may_be_shorter(stop, sizes):
    assert [piece.stop - piece.start for piece in split_range(2, stop, 3)] == sizes


def test_the_slices_of_a_pair_of_blocks_are_its_rows_and_columns():
    assert build_layout(5, 2).get_pair_slices() == [
        (slice(0, 2), slice(0, 2)),
        (slice(0, 2), slice(2, 5)),
        (slice(2, 5), slice(2, 5)),
    ]
