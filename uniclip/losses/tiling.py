"""The pairs of embeddings whose scores are needed, and the tiles that they are computed in.

Scores are symmetric, so there are only tiles on and above the diagonal: each serves its rows and
its columns. Pairs that are left out (an embedding with itself and with those of its sample) are a
list, which each tile has in its own coordinates.

Letters: M embeddings, P largest number of positives of an anchor, B blocks, K pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CPU = torch.device("cpu")
TILE_ASPECT = 2
"""Columns of a tile as a multiple of its rows."""
DIAGONAL_DIVISOR = 4
"""Rows of a tile divided by the rows of a square on the diagonal."""


class BlockPair(NamedTuple):
    """All rows of block a with all columns of block b."""

    a: int
    b: int
    pair: int
    """The domain pair whose scale the scores have, an index into `DOMAIN_PAIRS`."""


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """The pairs of M embeddings whose scores are needed; a block is a run of rows of one kind.

    It is made on the CPU, so that no device is waited for.
    """

    blocks: tuple[tuple[int, int], ...]
    """Start and stop of each block; together they cover 0 .. M in order."""
    block_pairs: tuple[BlockPair, ...]
    """The pairs of blocks that are compared, each once, with a <= b."""
    masked_pairs: tuple[Tensor, Tensor]
    """Pairs that are left out, each once: rows (K,) int64, and columns (K,) int64 >= rows."""
    positive_index: Tensor
    """(M, P) int64: the embeddings whose cosines with each row are returned."""
    is_empty: Tensor
    """(B, M) bool: rows that are compared with nothing in a block."""

    def to(self, device: torch.device) -> BlockLayout:
        """Return the layout with what belongs to rows on `device`; the pairs left out stay."""
        return replace(
            self,
            positive_index=self.positive_index.to(device, non_blocking=True),
            is_empty=self.is_empty.to(device, non_blocking=True),
        )

    def get_pair_slices(self) -> list[tuple[slice, slice]]:
        """Return the rows and columns of each pair of blocks."""
        return [(slice(*self.blocks[a]), slice(*self.blocks[b])) for a, b, _ in self.block_pairs]


class Tile(NamedTuple):
    """A rectangle of one pair of blocks, with rows and columns as ranges of 0 .. M."""

    rows: slice
    columns: slice
    block_pair: BlockPair
    masked_pairs: tuple[Tensor, Tensor] | None
    """Pairs that are left out, in coordinates of the tile; None = none is."""

    @property
    def is_diagonal(self) -> bool:
        """Whether rows and columns are the same, so that the tile holds every pair twice."""
        return self.rows == self.columns


def cut_tiles(block_layout: BlockLayout, tile_rows: int, device: torch.device = CPU) -> list[Tile]:
    """Return the tiles of every pair of blocks, by rows; the diagonal one is first in its row.

    Args:
        block_layout: the pairs of blocks, and the pairs that are left out.
        tile_rows: the largest number of rows of a tile.
        device: where the pairs that are left out of each tile are put.
    """
    tile_positions: list[tuple[slice, slice, BlockPair]] = []
    for block_pair in block_layout.block_pairs:
        start, stop = block_layout.blocks[block_pair.a]
        column_start, column_stop = block_layout.blocks[block_pair.b]
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
            tile_positions,
            _localize_masked_pairs(block_layout.masked_pairs, tile_positions, device),
        )
    ]


def _split_diagonal(rows: slice, tile_rows: int) -> Iterator[tuple[slice, slice]]:
    """Yield the tiles of rows with themselves: each pair once, in the small squares twice."""
    for row_chunk in split_range(rows.start, rows.stop, max(1, tile_rows // DIAGONAL_DIVISOR)):
        yield row_chunk, row_chunk
        if row_chunk.stop < rows.stop:
            yield row_chunk, slice(row_chunk.stop, rows.stop)


def split_range(start: int, stop: int, step: int) -> Iterator[slice]:
    """Return start:stop in pieces of `step`; the last one may be shorter."""
    return (slice(i, min(i + step, stop)) for i in range(start, stop, step))


def _localize_masked_pairs(
    masked_pairs: tuple[Tensor, Tensor],
    tile_positions: list[tuple[slice, slice, BlockPair]],
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """Yield the left-out pairs of each tile, in its coordinates; None if there are none."""
    row, column = (index.numpy() for index in masked_pairs)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    starts = np.searchsorted(row, [rows.start for rows, _, _ in tile_positions])
    stops = np.searchsorted(row, [rows.stop for rows, _, _ in tile_positions])
    for (rows, columns, _), first, last in zip(tile_positions, starts, stops):
        tile_row, tile_column = row[first:last], column[first:last]
        inside = (tile_column >= columns.start) & (tile_column < columns.stop)
        tile_row, tile_column = tile_row[inside] - rows.start, tile_column[inside] - columns.start
        if rows == columns:
            both_ways = [tile_row, tile_column], [tile_column, tile_row]
            tile_row, tile_column = (np.concatenate(indices) for indices in both_ways)
        local_pairs = (
            torch.from_numpy(tile_row).to(device, non_blocking=True),
            torch.from_numpy(tile_column).to(device, non_blocking=True),
        )
        yield local_pairs if len(tile_row) else None


def group_by_rows(tiles: list[Tile]) -> Iterator[tuple[slice, list[Tile]]]:
    """Yield the runs of consecutive tiles that have the same rows and the same pair of blocks."""
    row_tiles: list[Tile] = []
    for tile in tiles:
        key = (tile.rows, tile.block_pair)
        if row_tiles and (row_tiles[0].rows, row_tiles[0].block_pair) != key:
            yield row_tiles[0].rows, row_tiles
            row_tiles = []
        row_tiles.append(tile)
    if row_tiles:
        yield row_tiles[0].rows, row_tiles
