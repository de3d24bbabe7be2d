"""Verification of a data set under a data root: splits, image counts, checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import LocatedImageReader
from uniclip.io.hashing import digest
from uniclip.io.image_check import ImageFindings, ImageLocation, ReportProgress, check_images

CHECKED_IMAGE_SIZE = 64
"""Side of the square in which an image of a single color is looked for, in pixels."""
MEMORY_FOLDER = "checked_images"
"""Folder inside the store's cache."""
Availability = Literal["complete", "partial", "missing", "mismatch", "corrupt"]


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """State of one data set on disk."""

    dataset: Dataset
    counts: dict[SplitName, int] = field(default_factory=dict)
    """Images of each split that is present (held-out ones counted in `train`)."""
    missing_reason: str | None = None
    """What is missing first, and how to get it."""
    read_error: str | None = None
    """The first split that cannot be read, and why."""
    md5_matches: dict[str, bool] = field(default_factory=dict)
    """Whether each file whose MD5 was compared is the published one."""

    @property
    def availability(self) -> Availability:
        """The state in one word; "mismatch": other counts or checksums than published."""
        if self.read_error is not None:
            return "corrupt"
        if not self.counts:
            return "missing"
        if not all(self.md5_matches.values()) or any(
            self.has_unexpected_count(split) for split in self.counts
        ):
            return "mismatch"
        return "complete" if self.missing_reason is None else "partial"

    def has_unexpected_count(self, split: SplitName) -> bool:
        """Return whether a split has another number of images than published."""
        return self.counts[split] != self.dataset.expected_counts.get(split, self.counts[split])

    def describe(self) -> Iterator[str]:
        """Yield one line for each finding, the counts first."""
        if self.counts:
            yield ", ".join(self._format_count(split) for split in self.counts)
        if self.dataset.copy_folder is not None:
            yield f"read from the copy {self.dataset.copy_folder}/"
        if self.read_error is not None:
            yield self.read_error
        if self.missing_reason is not None:
            yield self.missing_reason
        mismatched_files = sorted(name for name, matches in self.md5_matches.items() if not matches)
        if mismatched_files:
            yield f"not the published file: {', '.join(mismatched_files)}"
        elif self.md5_matches:
            yield f"MD5 of {len(self.md5_matches)} files verified"

    def _format_count(self, split: SplitName) -> str:
        text = f"{split} {self.counts[split]:,}"
        if self.has_unexpected_count(split):
            text += f" (published: {self.dataset.expected_counts.get(split, 0):,})"
        return f"{text} (a tenth held out)" if self.dataset.held_out and split == "train" else text


def verify_dataset(dataset: Dataset, root: str | Path, check_md5: bool = False) -> DatasetStatus:
    """Check index files and, with `check_md5`, whole files; no image is read, torch not imported.

    Whether each listed image has a file is looked up in the listing of its folder.
    """
    counts: dict[SplitName, int] = {}
    missing_reason: str | None = None
    read_error: str | None = None
    for split in dataset.files:
        reason = dataset.describe_missing(root, (split,))
        if reason is not None:
            missing_reason = missing_reason or reason
            continue
        try:
            counts[split], paths = dataset.count_and_list_images(root, split)
            missing_files = _find_missing_files(paths)
            if missing_files:
                raise UserError(
                    f"{dataset.name}: {len(missing_files):,} of {counts.pop(split):,} images of "
                    f"{split} are missing, such as {missing_files[0]}; {dataset.download_hint}"
                )
        except UserError as error:
            read_error = read_error or str(error)
    md5_comparisons = dataset.compare_md5_sums(root) if check_md5 else ()
    return DatasetStatus(
        dataset=dataset,
        counts=counts,
        missing_reason=missing_reason,
        read_error=read_error,
        md5_matches={name: not differs for name, differs in md5_comparisons},
    )


def verify_user_images(
    dataset: Dataset,
    cache_folder: Path | None = None,
    report_progress: ReportProgress = lambda done, total: None,
) -> ImageFindings:
    """Decode every image of a user-defined data set; none of them may be unreadable.

    Args:
        dataset: A data set of `uniclip.evaluate.datasets.custom`.
        cache_folder: The store's cache, in which good images are remembered.
        report_progress: Called every few seconds with the number of images done, and of all.

    Raises:
        UserError: The data set is missing or cannot be opened.
    """
    assert dataset.user_folder is not None, dataset.name
    splits = [dataset.open(dataset.user_folder, split) for split in dataset.splits]
    locations = [
        ImageLocation(
            f"{dataset.name}: image {image_id}",
            *cast(LocatedImageReader, opened.reader).locate(i),
        )
        for opened in splits
        for i, image_id in enumerate(opened.ids)
    ]
    key = digest(
        [dataset.name.partition(":")[0], str(dataset.user_folder), *map(str, dataset.files)]
    )
    memory_path = None if cache_folder is None else cache_folder / MEMORY_FOLDER / key
    return check_images(locations, CHECKED_IMAGE_SIZE, memory_path, report_progress)


def _find_missing_files(paths: Sequence[str | Path]) -> list[str]:
    """Return the paths that no file has."""
    listings: dict[str, set[str]] = {}
    missing_files = []
    for path in map(str, paths):
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listings[folder] and not os.path.exists(path):  # case-insensitive disks
            missing_files.append(path)
    return missing_files
