"""A part of a data set: pictures, captions and labels, in one fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.rng import UInt64

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class SourceShare:
    """Samples start:stop, of which each batch has the same share."""

    start: int
    stop: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Split(ABC):
    """n samples; subclasses say where the pictures come from. Can be pickled (data workers)."""

    ids: UInt64
    """(n,) uint64: the samples' names in every draw."""
    captions: tuple[tuple[str, ...], ...]
    """Of each sample, one or more."""
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """(n,) int64 for each labelling: a class, or -1 for none."""
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The words of each labelling's classes."""
    sample_names: tuple[str, ...] = ()
    """What to call each sample in a report."""
    training_labels: NDArray[np.int64] | None = None
    """(n,): the class that a method may train on, -1 for a pair; None = all are pairs."""
    source_shares: tuple[SourceShare, ...] = ()
    """Of every batch; none = one, of everything."""

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The canvases of the samples at `index` (b,): (b, 3, H, W) uint8."""


def assign_split(
    sample_name: str, *, validation_fraction: float, test_fraction: float
) -> SplitName:
    """Where the sample of that name belongs: a hash of the name falls into the parts' shares."""
    from uniclip.rng import hash_sample_id  # here: see `uniclip.data`

    position = hash_sample_id(f"split/{sample_name}") / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
