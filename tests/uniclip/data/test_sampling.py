"""Which samples a batch takes: shares, rows of a process and of a part."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.helpers.small_runs import of_method
from uniclip import data
from uniclip.data.sampling import (
    SourceSlice,
    build_source_slices,
    compute_local_rows,
    divide_rows,
    draw_subset,
)
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError


@pytest.mark.parametrize(("size", "num_parts"), [(7, 1), (7, 2), (7, 7), (12, 5)])
def test_parts_are_the_rows_in_order(size: int, num_parts: int) -> None:
    parts = divide_rows(range(3, 3 + size), num_parts)
    assert [row for part in parts for row in part] == list(range(3, 3 + size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_and_parts_take_every_row_of_every_share_once() -> None:
    config = of_method("unicl", data={"name": "mix", "image_size": 32, "label_sources": ["digits"]})
    split, batch_size = data.open_split(config.data, "train"), 13
    for world, num_parts in itertools.product((1, 2, 4), (1, 3)):
        rows = [
            part
            for rank in range(world)
            for part in divide_rows(
                compute_local_rows(batch_size, 1, ProcessGroup(rank, world)), num_parts
            )
        ]
        slices = [build_source_slices(split, batch_size, part, "mix") for part in rows]
        (whole,) = {tuple(s.rows_per_batch for s in several) for several in slices}
        assert sum(whole) == batch_size
        for i, num_rows in enumerate(whole):
            taken = [row for several in slices for row in several[i].local_rows]
            assert taken == list(range(num_rows))
    first, second = slices[0]
    assert (first.order_purpose, second.order_purpose) == ("epoch order", "epoch order/1")


def test_a_process_needs_a_row_for_each_chunk() -> None:
    with pytest.raises(UserError, match="too small for 4 processes times .*=3 chunks"):
        compute_local_rows(11, 3, ProcessGroup(0, 4))


def test_a_row_is_replaced_by_the_same_row_of_the_next_batches_then_by_the_remainder() -> None:
    source_slice = SourceSlice(100, 110, 4, "epoch order", range(4))
    order = source_slice.get_order(5)
    items = 100 + order[:]
    assert (source_slice.steps_per_epoch, sorted(items.tolist())) == (2, list(range(100, 110)))
    candidates = list(source_slice.list_replacements(order, 1, 3))
    expected = [items[3], items[9], items[8], items[7], items[4], items[5], items[6]]
    np.testing.assert_array_equal(candidates, expected)


def test_a_subset_needs_one_source_that_is_shuffled_as_a_whole() -> None:
    mixed = data.open_split(
        of_method(
            "unicl", data={"name": "mix", "image_size": 32, "label_sources": ["digits"]}
        ).data,
        "train",
    )
    assert mixed.source_shares
    with pytest.raises(UserError, match="train.subset_size needs data of one source"):
        draw_subset(mixed, 4, 0)
    assert draw_subset(mixed, None, 0) is None
