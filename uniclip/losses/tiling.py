"""Which embeddings meet which, and how their rectangle of similarities is cut into tiles.

Scores are symmetric, so only the tiles on and above the diagonal are made: each serves its rows and
its columns. Who does not meet (an embedding itself, and those of its sample) is a list of pairs,
handed to each tile in the tile's own coordinates.

Letters: M embeddings, P positives an anchor at most, B blocks, K pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TILE_ASPECT = 2
"""Columns of a tile, in multiples of its rows."""
DIAGONAL_DIVISOR = 4
"""Rows of a square on the diagonal, in fractions of a tile's."""


class BlockPair(NamedTuple):
    """All rows of block a with all columns of block b, whose scores have the scale of `pair`."""

    a: int
    b: int
    pair: int


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """Which of M embeddings meet; a block is a run of rows that are of one kind."""

    blocks: tuple[tuple[int, int], ...]
    """Start and stop of each block; they cover 0 .. M in order."""
    block_pairs: tuple[BlockPair, ...]
    """a <= b; a == b is a block with itself, each pair once."""
    masked_pairs: tuple[Tensor, Tensor]
    """Pairs that do not meet, each once, two (K,) int64: rows, and columns no less than them."""
    positive_index: Tensor
    """(M, P) int64: whose cosines with each row are wanted."""
    is_empty: Tensor
    """(B, M) bool: rows that meet nothing in a block."""

    def get_pair_slices(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each meeting."""
        return [(slice(*self.blocks[a]), slice(*self.blocks[b])) for a, b, _ in self.block_pairs]


class Tile(NamedTuple):
    """A rectangle of one meeting, rows and columns as ranges of 0 .. M."""

    rows: slice
    columns: slice
    block_pair: BlockPair
    masked_pairs: tuple[Tensor, Tensor] | None
    """Pairs that do not meet, in the tile's own coordinates; None = all do."""

    @property
    def is_diagonal(self) -> bool:
        """Rows and columns are the same, so that every pair stands here twice."""
        return self.rows == self.columns


def cut_tiles(block_layout: BlockLayout, tile_rows: int) -> list[Tile]:
    """The tiles of every meeting, by rows; a diagonal one stands first among those of its rows."""
    tile_positions: list[tuple[slice, slice, BlockPair]] = []
    for block_pair in block_layout.block_pairs:
        (start, stop), (column_start, column_stop) = (
            block_layout.blocks[block_pair.a],
            block_layout.blocks[block_pair.b],
        )
        for rows in split_range(start, stop, tile_rows):
            if block_pair.a == block_pair.b:
                column_start = rows.stop
                tile_positions += [
                    (*position, block_pair) for position in _split_diagonal(rows, tile_rows)
                ]
            tile_positions += [
                (rows, columns, block_pair)
                for columns in split_range(column_start, column_stop, TILE_ASPECT * tile_rows)
            ]
    return [
        Tile(rows, columns, block_pair, masked_pairs)
        for (rows, columns, block_pair), masked_pairs in zip(
            tile_positions, _localize_masked_pairs(block_layout.masked_pairs, tile_positions)
        )
    ]


def _split_diagonal(rows: slice, tile_rows: int) -> Iterator[tuple[slice, slice]]:
    """Rows with themselves, each pair once but for those in the small squares on the diagonal."""
    for row_chunk in split_range(rows.start, rows.stop, max(1, tile_rows // DIAGONAL_DIVISOR)):
        yield row_chunk, row_chunk
        if row_chunk.stop < rows.stop:
            yield row_chunk, slice(row_chunk.stop, rows.stop)


def split_range(start: int, stop: int, step: int) -> Iterator[slice]:
    """start:stop in pieces of `step`, the last one shorter."""
    return (slice(i, min(i + step, stop)) for i in range(start, stop, step))


def _localize_masked_pairs(
    masked_pairs: tuple[Tensor, Tensor], tile_positions: list[tuple[slice, slice, BlockPair]]
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """For each place the pairs that do not meet there, in its own coordinates."""
    device = masked_pairs[0].device
    row, column = (index.cpu().numpy() for index in masked_pairs)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    starts = np.searchsorted(row, [rows.start for rows, _, _ in tile_positions])
    stops = np.searchsorted(row, [rows.stop for rows, _, _ in tile_positions])
    for (rows, columns, _), first, last in zip(tile_positions, starts, stops):
        tile_row, tile_column = row[first:last], column[first:last]
        inside = (tile_column >= columns.start) & (tile_column < columns.stop)
        tile_row, tile_column = tile_row[inside] - rows.start, tile_column[inside] - columns.start
        if rows == columns:
            tile_row, tile_column = (
                np.concatenate([tile_row, tile_column]),
                np.concatenate([tile_column, tile_row]),
            )
        local_pairs = (
            torch.from_numpy(tile_row).to(device),
            torch.from_numpy(tile_column).to(device),
        )
        yield local_pairs if len(tile_row) else None


def group_by_rows(tiles: list[Tile]) -> Iterator[tuple[slice, list[Tile]]]:
    """Neighbours that share rows and meeting."""
    row_tiles: list[Tile] = []
    for tile in tiles:
        if row_tiles and (row_tiles[0].rows, row_tiles[0].block_pair) != (
            tile.rows,
            tile.block_pair,
        ):
            yield row_tiles[0].rows, row_tiles
            row_tiles = []
        row_tiles.append(tile)
    if row_tiles:
        yield row_tiles[0].rows, row_tiles
