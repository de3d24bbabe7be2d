"""A split of a data set: images, captions and labels in a fixed order."""

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
    """The samples start:stop, which make up a fixed share of each batch."""

    start: int
    stop: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Split(ABC):
    """n samples. Subclasses load the images; they must be picklable (data workers)."""

    ids: UInt64
    """(n,) uint64: identify the samples in every random draw."""
    captions: tuple[tuple[str, ...], ...]
    """One or more captions for each sample."""
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Name of a labelling -> (n,) int64: the class, or -1 for none."""
    class_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Name of a labelling -> the names of its classes."""
    sample_names: tuple[str, ...] = ()
    """Names of the samples, for reports."""
    training_labels: NDArray[np.int64] | None = None
    """(n,): the class that a method may train on, -1 for an image-text pair; None = only pairs."""
    source_shares: tuple[SourceShare, ...] = ()
    """The shares of each batch; empty = one share of all samples."""

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the source images of the samples at `index` (b,), (b, 3, H, W) uint8."""


def assign_split(
    sample_name: str, *, validation_fraction: float, test_fraction: float
) -> SplitName:
    """Return the split of a sample: a hash of its name falls into the fraction of one split."""
    from uniclip.rng import hash_sample_id  # imports numpy: see `uniclip.data`

    position = hash_sample_id(f"split/{sample_name}") / 2**64
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
