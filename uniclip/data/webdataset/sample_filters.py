"""Which samples of an index fulfil `data.where`: a small folder beside it for each condition.

Validation and test pairs are chosen from all samples, and only training samples are filtered: so
runs with different conditions share an index, and are scored on the same pairs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniclip.data.webdataset.scan import ShardContent
from uniclip.errors import UserError
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import digest
from uniclip.io.published_folder import get_or_publish

VERSION = 1
"""Raised when other samples fulfil the same condition."""
ACCEPTED_FILE, SUMMARY_FILE = "accepted.npy", "filter.json"


@dataclass(frozen=True)
class FilterSummary:
    """How many samples of an index, held out or not, do not fulfil a condition; as plain JSON."""

    num_filtered: int
    """Samples whose values do not fulfil it."""
    missing_fields: dict[str, int]
    """Field that it reads -> samples without it, or whose value cannot be compared."""


@dataclass
class FilterMatches:
    """What the shards of an index say of a condition."""

    accepted: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether each sample fulfils it, an array for each shard."""
    num_filtered: int = 0
    missing_fields: Counter[str] = field(default_factory=Counter)
    known_fields: set[str] = field(default_factory=set)

    def add(self, content: ShardContent) -> None:
        """Add the next shard."""
        self.accepted.append(content.accepted)
        self.num_filtered += content.num_filtered
        self.missing_fields += content.missing_fields
        self.known_fields |= content.known_fields


def collect_matches(contents: Iterable[ShardContent]) -> FilterMatches:
    """Return what the shards of an index say of a condition."""
    matches = FilterMatches()
    for content in contents:
        matches.add(content)
    return matches


def has_filter(index_folder: Path, where: str, num_samples: int) -> bool:
    """Return whether the samples of an index that fulfil a condition have been found."""
    return _is_whole(num_samples, _name_folder(index_folder, where))


def publish_filter(
    index_folder: Path,
    where: str,
    path: str,
    num_samples: int,
    find: Callable[[], FilterMatches],
) -> None:
    """Write which samples of an index fulfil a condition, unless it is written.

    Args:
        index_folder: The folder of the index.
        where: The condition.
        path: What names the shards, for messages.
        num_samples: Samples of the index.
        find: Reads the shards.

    Raises:
        UserError: No sample fulfils it, or it cannot be written.
    """

    def write(folder: Path) -> None:
        matches = find()
        _require_samples(where, path, num_samples, matches)
        with ArrayWriter(folder / ACCEPTED_FILE, np.bool_) as writer:
            for accepted in matches.accepted:
                writer.append(accepted)
        summary = FilterSummary(matches.num_filtered, dict(matches.missing_fields))
        atomic_write(folder / SUMMARY_FILE, json.dumps(asdict(summary)).encode())

    folder = _name_folder(index_folder, where)
    get_or_publish(folder, write, partial(_is_whole, num_samples))


def map_accepted(index_folder: Path, where: str) -> NDArray[np.bool_]:
    """Return whether each sample of an index fulfils a condition, (n,), mapped into memory."""
    return map_array(_name_folder(index_folder, where) / ACCEPTED_FILE)


def read_summary(index_folder: Path, where: str) -> FilterSummary:
    """Return how many samples of an index do not fulfil a condition."""
    return _read_summary(_name_folder(index_folder, where))


def _name_folder(index_folder: Path, where: str) -> Path:
    return index_folder.with_name(f"{index_folder.name}-where-{digest([VERSION, where], 32)}")


def _is_whole(num_samples: int, folder: Path) -> bool:
    try:
        _read_summary(folder)
    except (OSError, ValueError, TypeError):
        return False
    return has_array(folder / ACCEPTED_FILE, np.bool_, num_samples)


def _read_summary(folder: Path) -> FilterSummary:
    return FilterSummary(**json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8")))


def _require_samples(where: str, path: str, num_samples: int, matches: FilterMatches) -> None:
    """Raise `UserError` if no sample fulfils a condition."""
    if any(accepted.any() for accepted in matches.accepted):
        return
    if matches.missing_fields and not matches.num_filtered:
        missing = {name for names in matches.missing_fields for name in names.split(" or ")}
        names = ", ".join(sorted(missing - matches.known_fields))
        if not names:
            raise UserError(
                f"data.where={where!r} compares values of {', '.join(sorted(missing))} "
                "that cannot be compared (null, a text with a number, or a division by 0) in all "
                "samples; compare numbers with numbers and texts with texts"
            )
        known = ", ".join(sorted(matches.known_fields))
        raise UserError(
            f"data.where={where!r} reads {names}, which no sample has; the fields of a "
            f"sample are {known}"
        )
    raise UserError(
        f"data.where={where!r} leaves none of {num_samples} samples of {path}; relax it"
    )
