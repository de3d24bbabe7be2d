"""What there is of a data set under a data root: which parts, how many pictures, whose files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset

Availability = Literal["here", "partly", "missing", "differs", "damaged"]


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """One data set as it was found."""

    dataset: Dataset
    counts: dict[SplitName, int] = field(default_factory=dict)
    """Pictures of each part of the set itself that is here."""
    missing: str | None = None
    """The first thing that is not here, and how to get it."""
    damaged: str | None = None
    """The first part that cannot be read, and why."""
    md5_matches: dict[str, bool] = field(default_factory=dict)
    """Of each file whose sum was compared: whether it is the published one."""

    @property
    def availability(self) -> Availability:
        """In one word; `differs`: other numbers or sums than published."""
        if self.damaged is not None:
            return "damaged"
        if not self.counts:
            return "missing"
        if not all(self.md5_matches.values()) or any(
            self.has_unexpected_count(split) for split in self.counts
        ):
            return "differs"
        return "here" if self.missing is None else "partly"

    def has_unexpected_count(self, split: SplitName) -> bool:
        """Whether a part has another number of pictures than published."""
        return self.counts[split] != self.dataset.expected_counts.get(split, self.counts[split])

    def describe(self) -> Iterator[str]:
        """What there is to say, the numbers first."""
        if self.counts:
            yield ", ".join(self._format_count(split) for split in self.counts)
        if self.damaged is not None:
            yield self.damaged
        if self.missing is not None:
            yield self.missing
        mismatched_files = sorted(name for name, matches in self.md5_matches.items() if not matches)
        if mismatched_files:
            yield f"not the published file: {', '.join(mismatched_files)}"
        elif self.md5_matches:
            yield f"sums of {len(self.md5_matches)} files are right"

    def _format_count(self, split: SplitName) -> str:
        published = f" (published: {self.dataset.expected_counts.get(split, 0):,})"
        held_out_note = " (a tenth held out)" if self.dataset.held_out and split == "train" else ""
        return f"{split} {self.counts[split]:,}{published if self.has_unexpected_count(split) else ''}{held_out_note}"


def verify_dataset(dataset: Dataset, root: str | Path, check_md5: bool = False) -> DatasetStatus:
    """Reads index files, and with `sums` whole files; never a picture, and no torch.

    That each listed picture has a file is seen in the listings of their folders.
    """
    counts: dict[SplitName, int] = {}
    missing = damaged = None
    for split in dataset.files:
        reason = dataset.describe_missing(root, (split,))
        if reason is not None:
            missing = missing or reason
            continue
        try:
            counts[split], paths = dataset.count_and_list_images(root, split)
            missing_files = _find_missing_files(paths)
            if missing_files:
                raise UserError(
                    f"{dataset.name}: {len(missing_files):,} of {counts.pop(split):,} pictures of {split} are "
                    f"not there, such as {missing_files[0]}; {dataset.download_hint}"
                )
        except UserError as error:
            damaged = damaged or str(error)
    md5_comparisons = dataset.compare_md5_sums(root) if check_md5 else ()
    return DatasetStatus(
        dataset=dataset,
        counts=counts,
        missing=missing,
        damaged=damaged,
        md5_matches={name: not differs for name, differs in md5_comparisons},
    )


def _find_missing_files(paths: Sequence[str | Path]) -> list[str]:
    """Those of which there is no file."""
    listings: dict[str, set[str]] = {}
    missing_files = []
    for path in map(str, paths):
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listings[folder] and not os.path.exists(path):  # case may not matter there
            missing_files.append(path)
    return missing_files
