"""Which rows of large tables are one image, and which of its captions are used.

The keys of all rows are sorted in parts, so that little more than the results is in memory: four
bytes a row, and up to twelve where images have several rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.data.csv.row_arrays import Rows, iterate_slices

PART_SIZE = 2**20
"""Keys that are sorted at once, about."""


@dataclass(frozen=True)
class SampleRows:
    """The rows of n samples, which are images with one or more captions."""

    first: Rows
    """(n,) the first row of each sample, ascending."""
    sample_by_row: NDArray[np.uint32]
    """The sample of each row."""
    caption_rows: Rows = field(repr=False)
    """(m,) the rows whose captions are used, by sample and row: none is twice in a sample."""
    caption_stops: NDArray[np.uint32] | None = None
    """(n,) number of the captions up to those of each sample; None = each has one."""

    def choose_captions(
        self, samples: slice, is_chosen: NDArray[np.bool_]
    ) -> tuple[Rows, NDArray[np.int64]]:
        """Return the caption rows of some samples, and how many each of these has.

        Args:
            samples: Consecutive samples, at least one.
            is_chosen: Which of them.
        """
        if self.caption_stops is None:
            rows = self.caption_rows[samples][is_chosen]
            return rows, np.ones(len(rows), np.int64)
        start = int(self.caption_stops[samples.start - 1]) if samples.start else 0
        stops = self.caption_stops[samples].astype(np.int64)
        counts = np.diff(stops, prepend=start)
        rows = self.caption_rows[start : stops[-1]]
        return rows[np.repeat(is_chosen, counts)], counts[is_chosen]


def group_rows(file_keys: NDArray[np.int64], caption_keys: NDArray[np.int64]) -> SampleRows:
    """Return the samples that rows make up.

    Args:
        file_keys: Equal for the rows of one image.
        caption_keys: Equal for rows of equal captions.
    """
    first_by_row, is_used = _sort_rows(file_keys, caption_keys)
    num_rows = len(first_by_row)
    is_first = np.empty(num_rows, np.bool_)
    for s in iterate_slices(num_rows):
        is_first[s] = first_by_row[s] == np.arange(s.start, s.stop)
    first = np.flatnonzero(is_first).astype(np.uint32)
    if len(first) == num_rows:
        return SampleRows(first, first, first)
    numbers = np.cumsum(is_first, dtype=np.uint32)
    sample_by_row = first_by_row  # whose memory is used again
    for s in iterate_slices(num_rows):
        sample_by_row[s] = numbers[first_by_row[s]] - 1
    del numbers
    return SampleRows(first, sample_by_row, *_order_captions(sample_by_row, is_used, len(first)))


def _sort_rows(
    file_keys: NDArray[np.int64], caption_keys: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the first row of the image of each row, and whether its caption is used."""
    first_by_row = np.empty(len(file_keys), np.uint32)
    is_used = np.empty(len(file_keys), np.bool_)
    for rows in iterate_equal(file_keys):
        files, captions = file_keys[rows], caption_keys[rows]
        order = np.lexsort((captions, files))  # stable: equal ones by row
        rows, files, captions = rows[order], files[order], captions[order]
        is_new_file = _differs_from_previous(files)
        starts = np.flatnonzero(is_new_file)
        first = np.minimum.reduceat(rows, starts) if len(rows) else rows
        first_by_row[rows] = np.repeat(first, np.diff(starts, append=len(rows)))
        is_used[rows] = is_new_file | _differs_from_previous(captions)
    return first_by_row, is_used


def _order_captions(
    sample_by_row: NDArray[np.uint32], is_used: NDArray[np.bool_], num_samples: int
) -> tuple[Rows, NDArray[np.uint32] | None]:
    """Return `SampleRows.caption_rows` and `caption_stops`."""

    def are_captions(samples: slice, s: slice) -> NDArray[np.bool_]:
        numbers = sample_by_row[s]
        are_in: NDArray[np.bool_] = (numbers >= samples.start) & (numbers < samples.stop)
        return are_in & is_used[s]

    caption_rows = np.empty(int(np.count_nonzero(is_used)), np.uint32)
    stops, stop = np.empty(num_samples, np.uint32), 0
    for part in iterate_slices(num_samples, PART_SIZE):
        rows = find_rows(partial(are_captions, part), len(sample_by_row))
        numbers = sample_by_row[rows] - np.uint32(part.start)
        caption_rows[stop : stop + len(rows)] = rows[np.argsort(numbers, kind="stable")]
        stops[part] = stop + np.cumsum(np.bincount(numbers, minlength=part.stop - part.start))
        stop += len(rows)
    return caption_rows, None if len(caption_rows) == num_samples else stops


def _differs_from_previous(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    differs = np.ones(len(values), np.bool_)
    differs[1:] = values[1:] != values[:-1]
    return differs


def iterate_equal(
    keys: NDArray[np.int64], is_wanted: NDArray[np.bool_] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Yield the positions of a part of the keys at a time, ascending; equal keys come together.

    Args:
        keys: Hashes, whose last bits tell the parts.
        is_wanted: Which of them, where it is not all.
    """
    num_parts = 1 << (len(keys) // PART_SIZE).bit_length()

    def are_in(part: int, s: slice) -> NDArray[np.bool_]:
        is_in: NDArray[np.bool_] = keys[s] & (num_parts - 1) == part
        return is_in if is_wanted is None else is_in & is_wanted[s]

    for part in range(num_parts):
        yield find_rows(partial(are_in, part), len(keys))


def find_rows(is_wanted: Callable[[slice], NDArray[np.bool_]], num_rows: int) -> NDArray[np.int64]:
    """Return the rows of which something holds, ascending, while some are looked at at a time."""
    parts = [s.start + np.flatnonzero(is_wanted(s)) for s in iterate_slices(num_rows)]
    return np.concatenate([np.empty(0, np.int64), *parts])


def take(values: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Return the values of rows, as `values[rows]` does, without a copy of the rows as int64."""
    taken = np.empty(len(rows), values.dtype)
    for s in iterate_slices(len(rows)):
        taken[s] = values[rows[s]]
    return taken


def find_distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position at which each key comes first, ascending."""
    is_first = np.zeros(len(keys), np.bool_)
    for s in iterate_slices(len(keys)):  # so that a key of most positions makes no large part
        is_first[s.start + np.unique(keys[s], return_index=True)[1]] = True
    for positions in iterate_equal(keys, is_first):
        is_first[positions] = False
        is_first[positions[np.unique(keys[positions], return_index=True)[1]]] = True
    return np.flatnonzero(is_first)
