"""What there is of a data set under a data root: which parts, how many pictures, whose files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset

State = Literal["here", "partly", "missing", "differs", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One data set as it was found."""

    dataset: Dataset
    counts: dict[Part, int] = field(default_factory=dict)
    """Pictures of each part of the set itself that is here."""
    missing: str | None = None
    """The first thing that is not here, and how to get it."""
    damaged: str | None = None
    """The first part that cannot be read, and why."""
    sums: dict[str, bool] = field(default_factory=dict)
    """Of each file whose sum was compared: whether it is the published one."""

    @property
    def state(self) -> State:
        """In one word; `differs`: other numbers or sums than published."""
        if self.damaged is not None:
            return "damaged"
        if not self.counts:
            return "missing"
        if not all(self.sums.values()) or any(self.surprising(part) for part in self.counts):
            return "differs"
        return "here" if self.missing is None else "partly"

    def surprising(self, part: Part) -> bool:
        """Whether a part has another number of pictures than published."""
        return self.counts[part] != self.dataset.expected.get(part, self.counts[part])

    def lines(self) -> Iterator[str]:
        """What there is to say, the numbers first."""
        if self.counts:
            yield ", ".join(self._counted(part) for part in self.counts)
        if self.damaged is not None:
            yield self.damaged
        if self.missing is not None:
            yield self.missing
        wrong = sorted(name for name, right in self.sums.items() if not right)
        if wrong:
            yield f"not the published file: {', '.join(wrong)}"
        elif self.sums:
            yield f"sums of {len(self.sums)} files are right"

    def _counted(self, part: Part) -> str:
        published = f" (published: {self.dataset.expected.get(part, 0):,})"
        held = " (a tenth held out)" if self.dataset.held_out and part == "train" else ""
        return f"{part} {self.counts[part]:,}{published if self.surprising(part) else ''}{held}"


def look(dataset: Dataset, root: str | Path, sums: bool = False) -> Found:
    """Reads index files, and with `sums` whole files; never a picture, and no torch.

    That each listed picture has a file is seen in the listings of their folders.
    """
    counts: dict[Part, int] = {}
    missing = damaged = None
    for part in dataset.files:
        reason = dataset.missing(root, (part,))
        if reason is not None:
            missing = missing or reason
            continue
        try:
            counts[part], paths = dataset.listed(root, part)
            gone = _gone(paths)
            if gone:
                raise UserError(
                    f"{dataset.name}: {len(gone):,} of {counts.pop(part):,} pictures of {part} are "
                    f"not there, such as {gone[0]}; {dataset.how}"
                )
        except UserError as error:
            damaged = damaged or str(error)
    compared = dataset.wrong_sums(root) if sums else ()
    return Found(
        dataset=dataset,
        counts=counts,
        missing=missing,
        damaged=damaged,
        sums={name: not wrong for name, wrong in compared},
    )


def _gone(paths: Sequence[str | Path]) -> list[str]:
    """Those of which there is no file."""
    listings: dict[str, set[str]] = {}
    gone = []
    for path in map(str, paths):
        folder, name = os.path.split(path)
        if folder not in listings:
            listings[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listings[folder] and not os.path.exists(path):  # case may not matter there
            gone.append(path)
    return gone
