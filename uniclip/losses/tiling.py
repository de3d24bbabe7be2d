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

WIDER = 2
"""Columns of a tile, in multiples of its rows."""
FINER = 4
"""Rows of a square on the diagonal, in fractions of a tile's."""


class Meeting(NamedTuple):
    """All rows of block a with all columns of block b, whose scores have the scale of `pair`."""

    a: int
    b: int
    pair: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which of M embeddings meet; a block is a run of rows that are of one kind."""

    blocks: tuple[tuple[int, int], ...]
    """Start and stop of each block; they cover 0 .. M in order."""
    meetings: tuple[Meeting, ...]
    """a <= b; a == b is a block with itself, each pair once."""
    apart: tuple[Tensor, Tensor]
    """Pairs that do not meet, each once, two (K,) int64: rows, and columns no less than them."""
    positive: Tensor
    """(M, P) int64: whose cosines with each row are wanted."""
    empty: Tensor
    """(B, M) bool: rows that meet nothing in a block."""

    def sides(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each meeting."""
        return [(slice(*self.blocks[a]), slice(*self.blocks[b])) for a, b, _ in self.meetings]


class Tile(NamedTuple):
    """A rectangle of one meeting, rows and columns as ranges of 0 .. M."""

    rows: slice
    columns: slice
    meeting: Meeting
    apart: tuple[Tensor, Tensor] | None
    """Pairs that do not meet, in the tile's own coordinates; None = all do."""

    @property
    def diagonal(self) -> bool:
        """Rows and columns are the same, so that every pair stands here twice."""
        return self.rows == self.columns


def cut(layout: Layout, tile: int) -> list[Tile]:
    """The tiles of every meeting, by rows; a diagonal one stands first among those of its rows."""
    places: list[tuple[slice, slice, Meeting]] = []
    for meeting in layout.meetings:
        (start, stop), (left, right) = layout.blocks[meeting.a], layout.blocks[meeting.b]
        for rows in ranges(start, stop, tile):
            if meeting.a == meeting.b:
                left = rows.stop
                places += [(*place, meeting) for place in _corner(rows, tile)]
            places += [(rows, columns, meeting) for columns in ranges(left, right, WIDER * tile)]
    return [
        Tile(rows, columns, meeting, apart)
        for (rows, columns, meeting), apart in zip(places, _apart(layout.apart, places))
    ]


def _corner(rows: slice, tile: int) -> Iterator[tuple[slice, slice]]:
    """Rows with themselves, each pair once but for those in the small squares on the diagonal."""
    for few in ranges(rows.start, rows.stop, max(1, tile // FINER)):
        yield few, few
        if few.stop < rows.stop:
            yield few, slice(few.stop, rows.stop)


def ranges(start: int, stop: int, step: int) -> Iterator[slice]:
    """start:stop in pieces of `step`, the last one shorter."""
    return (slice(i, min(i + step, stop)) for i in range(start, stop, step))


def _apart(
    pairs: tuple[Tensor, Tensor], places: list[tuple[slice, slice, Meeting]]
) -> Iterator[tuple[Tensor, Tensor] | None]:
    """For each place the pairs that do not meet there, in its own coordinates."""
    device = pairs[0].device
    row, column = (p.cpu().numpy() for p in pairs)
    order = np.lexsort((column, row))
    row, column = row[order], column[order]
    starts = np.searchsorted(row, [rows.start for rows, _, _ in places])
    stops = np.searchsorted(row, [rows.stop for rows, _, _ in places])
    for (rows, columns, _), first, last in zip(places, starts, stops):
        r, c = row[first:last], column[first:last]
        inside = (c >= columns.start) & (c < columns.stop)
        r, c = r[inside] - rows.start, c[inside] - columns.start
        if rows == columns:
            r, c = np.concatenate([r, c]), np.concatenate([c, r])
        here = (torch.from_numpy(r).to(device), torch.from_numpy(c).to(device))
        yield here if len(r) else None


def by_rows(tiles: list[Tile]) -> Iterator[tuple[slice, list[Tile]]]:
    """Neighbours that share rows and meeting."""
    row: list[Tile] = []
    for tile in tiles:
        if row and (row[0].rows, row[0].meeting) != (tile.rows, tile.meeting):
            yield row[0].rows, row
            row = []
        row.append(tile)
    if row:
        yield row[0].rows, row
