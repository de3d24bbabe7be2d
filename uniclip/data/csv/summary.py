"""What a plan says of the rows of tables, however many there are."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from uniclip.data.csv.faults import RowFault
from uniclip.data.split import SplitName


@dataclass(frozen=True, kw_only=True)
class RowSummary:
    """Counts of samples, and the rows that are no ordinary ones."""

    split_counts: Counter[SplitName]
    """Split -> its samples."""
    label_counts: Counter[str | None]
    """Class -> the samples of all splits; None = those without a class."""
    same_images: list[tuple[str, ...]]
    """The paths of each image that the tables list under several, the first one first."""
    skipped_rows: list[RowFault] = field(default_factory=list)
    """Training rows that cannot be used."""

    @property
    def num_samples(self) -> int:
        """Samples of all splits."""
        return sum(self.split_counts.values())
