"""Sequences whose items are made when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

Item = TypeVar("Item", covariant=True)


class LazySequence(Sequence[Item]):
    """A sequence of which a subclass defines the length, an item and a slice."""

    @abstractmethod
    def get_item(self, i: int) -> Item:
        """Return one item.

        Raises:
            IndexError: There is none; a negative index counts from the end.
        """

    def get_slice(self, items: slice) -> Sequence[Item]:
        """Return some items; as a list, if a subclass has no lazy sequence of them."""
        return [self.get_item(i) for i in range(len(self))[items]]

    @overload
    def __getitem__(self, i: int) -> Item: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[Item]: ...

    def __getitem__(self, i: int | slice) -> Item | Sequence[Item]:
        return self.get_slice(i) if isinstance(i, slice) else self.get_item(i)
