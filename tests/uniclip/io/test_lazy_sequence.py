"""Sequences whose items are made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from uniclip.io.lazy_sequence import LazySequence


@dataclass(frozen=True, eq=False)
class Doubles(LazySequence[int]):
    """Twice each of some numbers."""

    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def get_item(self, i: int) -> int:
        return 2 * self.numbers[i]


class DoublesInSlices(Doubles):
    def get_slice(self, items: slice) -> Sequence[int]:
        return DoublesInSlices(self.numbers[items])


@pytest.mark.parametrize("cls", [Doubles, DoublesInSlices])
def test_items_and_slices_are_those_of_a_list(cls: type[Doubles]) -> None:
    doubles, expected = cls(range(5)), [0, 2, 4, 6, 8]
    assert list(doubles) == expected
    assert doubles[-1] == 8
    assert 6 in doubles
    with pytest.raises(IndexError):
        doubles[5]
    for items in (slice(1, 3), slice(None, None, -2), slice(4, 99), slice(3, 3)):
        assert list(doubles[items]) == expected[items]
    assert isinstance(doubles[1:], list) != isinstance(doubles, DoublesInSlices)
