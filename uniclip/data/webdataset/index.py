"""The index of shards: where each image is, its caption and its id; built once, mapped into memory.

It is kept in the user's cache folder under a digest of the shards' paths, sizes and times of
change and of `data.min_side`: shards that are added, grow or change get a new one. `data.where`
changes nothing in it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import WebdatasetData
from uniclip.data.webdataset.parallel_scan import ReportProgress, scan_shards
from uniclip.data.webdataset.paths import (
    SEVERAL_SOURCES_RULE,
    Shard,
    has_several_sources,
    list_shards,
)
from uniclip.data.webdataset.sample_filters import (
    FilterMatches,
    collect_matches,
    has_filter,
    publish_filter,
)
from uniclip.data.webdataset.scan import (
    CAPTION_EXTENSION,
    DAMAGED,
    TOO_SMALL,
    ShardContent,
    scan_shard,
)
from uniclip.errors import UserError
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import digest
from uniclip.io.memo import get_cache_folder
from uniclip.io.published_folder import get_or_publish
from uniclip.io.source_record import write_sources

VERSION = 2
"""Raised when the same shards get another index."""
FOLDER = "shards"
"""Folder of all indices inside the cache folder."""
SUMMARY_FILE = "index.json"
ARRAYS: dict[str, type] = {
    "blocks": np.uint32,
    "lengths": np.uint32,
    "ids": np.uint64,
    "split_positions": np.uint32,
    "caption_ends": np.uint32,
    "captions": np.uint8,
}
"""Name of an array of the index -> type; the meaning is that of `ShardContent`."""
LOST = "lost in damaged shards, by an estimate"
"""Reason under which the samples behind the damage of shards count."""
MAX_NAMED = 100
"""Samples that cannot be used and are named."""


@dataclass(frozen=True, kw_only=True)
class IndexSummary:
    """What was found in the shards, as plain JSON."""

    num_samples: int
    first_samples: list[int]
    """Number of the first sample of each shard, and of all."""
    first_captions: list[int]
    """First byte of the captions of each shard, and of all."""
    counts: dict[str, int]
    """Reason -> samples that are skipped. A damaged shard counts as the samples that it lacks to
    the mean of whole shards, and at least one."""
    named: list[str]
    """Some of them."""
    num_repeated: int
    """Samples whose image has the name of another one of its source."""
    num_repeated_members: int = 0
    """Members that are left out, since their sample has an earlier one with their extension; 0 in
    an index of a version that did not count them."""

    @property
    def num_broken(self) -> int:
        """Samples that cannot be used."""
        return sum(self.broken_counts.values())

    @property
    def broken_counts(self) -> dict[str, int]:
        """Reason -> samples that cannot be used, without those left out by `data.min_side`."""
        return {reason: n for reason, n in self.counts.items() if reason != TOO_SMALL}


@dataclass(frozen=True)
class ShardIndex:
    """The n usable samples of shards, in their order."""

    folder: Path
    shards: tuple[Shard, ...]
    summary: IndexSummary

    def __len__(self) -> int:
        return self.summary.num_samples

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without arrays: another process maps its own."""
        return {name: getattr(self, name) for name in ("folder", "shards", "summary")}

    @cached_property
    def first_samples(self) -> NDArray[np.int64]:
        """(S + 1,) number of the first sample of each shard, and of all samples."""
        return np.array(self.summary.first_samples, np.int64)

    @cached_property
    def first_captions(self) -> NDArray[np.int64]:
        """(S + 1,) first byte of the captions of each shard, and of all."""
        return np.array(self.summary.first_captions, np.int64)

    @cached_property
    def blocks(self) -> NDArray[np.uint32]:
        """(n,): see `ShardContent`."""
        return self._map("blocks")

    @cached_property
    def lengths(self) -> NDArray[np.uint32]:
        """(n,): see `ShardContent`."""
        return self._map("lengths")

    @cached_property
    def ids(self) -> NDArray[np.uint64]:
        """(n,): see `ShardContent`."""
        return self._map("ids")

    @cached_property
    def split_positions(self) -> NDArray[np.uint32]:
        """(n,): see `ShardContent`."""
        return self._map("split_positions")

    @cached_property
    def _caption_ends(self) -> NDArray[np.uint32]:
        return self._map("caption_ends")

    @cached_property
    def _captions(self) -> NDArray[np.uint8]:
        return self._map("captions")

    def find_shards(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the shard of each sample."""
        return np.searchsorted(self.first_samples, rows, side="right") - 1

    def get_caption(self, row: int) -> str:
        """Return the caption of a sample."""
        shard = int(self.find_shards(np.array([row]))[0])
        start = 0 if row == self.first_samples[shard] else int(self._caption_ends[row - 1])
        first = int(self.first_captions[shard])
        caption = self._captions[first + start : first + int(self._caption_ends[row])]
        return caption.tobytes().decode()

    def count_captions(self) -> int:
        """Return the number of captions: one for each sample."""
        return len(self)

    def iterate_captions(self, start: int, stop: int) -> Iterator[str]:
        """Yield the captions of the samples from `start` to `stop`."""
        for shard in range(len(self.shards)):
            first, last = (int(n) for n in self.first_samples[shard : shard + 2])
            rows = range(max(first, start), min(last, stop))
            if not rows:
                continue
            ends = self._caption_ends[rows.start : rows.stop].tolist()
            begin = int(self._caption_ends[rows.start - 1]) if rows.start > first else 0
            origin = int(self.first_captions[shard])
            content = self._captions[origin + begin : origin + ends[-1]].tobytes()
            position = 0
            for end in ends:
                yield content[position : end - begin].decode()
                position = end - begin

    def _map(self, name: str) -> NDArray[Any]:
        return map_array(self.folder / f"{name}.npy")


@dataclass(frozen=True)
class IndexRequest:
    """The shards that are indexed, and what is read of them."""

    path: str
    """What names them, as `paths.list_shards` takes it."""
    where: str | None = None
    """The condition that training samples must fulfil, which is kept beside the index."""
    text_extension: str = CAPTION_EXTENSION
    """Extension of the captions; with that of classes, these take their place."""
    min_side: int = 0
    """Shorter side that an image must have, in pixels."""
    path_key: str = "data.path"
    """The key of the configuration that names the path, for messages."""

    def list_shards(self) -> tuple[Shard, ...]:
        """Return the shards; `UserError` if one is missing."""
        return tuple(list_shards(self.path, self.path_key))

    def name_folder(self, shards: Sequence[Shard]) -> Path:
        """Return the folder of their index."""
        no_condition = None  # versions that indexed the samples of a condition wrote it here
        content: list[Any] = [VERSION, [[*s.signature, s.source] for s in shards], no_condition]
        if self.text_extension != CAPTION_EXTENSION:
            content.append(self.text_extension)
        if has_several_sources(shards):
            content.append(SEVERAL_SOURCES_RULE)
        if self.min_side:
            content.append({"min_side": self.min_side})
        return get_cache_folder() / FOLDER / digest(content, 32)


def find_index(config: WebdatasetData | IndexRequest) -> ShardIndex | None:
    """Return the index of shards, such as those of a data section, if it has been built, else None.

    Also None until it is known which samples fulfil `data.where`.

    Raises:
        UserError: A shard is missing.
    """
    request = _make_request(config)
    shards = request.list_shards()
    folder = request.name_folder(shards)
    if not _is_whole(folder):
        return None
    index = _open_cached(folder, shards)
    is_filtered = request.where is None or has_filter(folder, request.where, len(index))
    return index if is_filtered else None


def open_index(
    config: WebdatasetData | IndexRequest,
    report_progress: ReportProgress = lambda done, total: None,
) -> ShardIndex:
    """Return the index of shards, such as those of a data section; it is built if there is none.

    So are the samples that fulfil `data.where`.

    Raises:
        UserError: A shard cannot be read, or no sample can be used or fulfils `data.where`.
        DataChangedError: A shard was changed while it was read.
    """
    request = _make_request(config)
    shards = request.list_shards()
    folder = request.name_folder(shards)
    scan_one = partial(
        scan_shard,
        where=request.where,
        text_extension=request.text_extension,
        min_side=request.min_side,
    )
    scan = partial(scan_shards, shards, scan_one, report_progress)
    matches: list[FilterMatches] = []
    get_or_publish(folder, partial(_write_index, shards, request, scan, matches), _is_whole)
    index = _open_cached(folder, shards)
    if request.where is not None:

        def find() -> FilterMatches:
            return matches[-1] if matches else collect_matches(scan())

        publish_filter(folder, request.where, request.path, len(index), find)
    return index


def _make_request(config: WebdatasetData | IndexRequest) -> IndexRequest:
    if isinstance(config, IndexRequest):
        return config
    return IndexRequest(config.path, config.where, min_side=config.min_side)


def _is_whole(folder: Path) -> bool:
    """Return whether the files of an index are there, complete and of the stated lengths."""
    try:
        summary = _read_summary(folder)
        lengths = dict.fromkeys(ARRAYS, summary.num_samples)
        lengths["captions"] = summary.first_captions[-1]
        return all(
            has_array(folder / f"{name}.npy", dtype, lengths[name])
            for name, dtype in ARRAYS.items()
        )
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _read_summary(folder: Path) -> IndexSummary:
    values = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    for former in ("num_filtered", "missing_fields"):
        values.pop(former, None)
    return IndexSummary(**values)


@lru_cache(maxsize=4)
def _open_cached(folder: Path, shards: tuple[Shard, ...]) -> ShardIndex:
    return ShardIndex(folder, shards, _read_summary(folder))


# ---- building it ---------------------------------------------------------------------------------


@dataclass
class _Totals:
    """What is counted over all shards."""

    keeps_matches: bool
    """Whether there is a condition."""
    first_samples: list[int] = field(default_factory=lambda: [0])
    first_captions: list[int] = field(default_factory=lambda: [0])
    counts: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    num_repeated_members: int = 0
    matches: FilterMatches = field(default_factory=FilterMatches)
    seen_in_whole: list[int] = field(default_factory=list)
    """Samples of each shard that is whole."""
    seen_in_damaged: list[int] = field(default_factory=list)
    """Samples of each damaged shard up to the damage."""

    def add(self, content: ShardContent) -> None:
        self.first_samples.append(self.first_samples[-1] + len(content.ids))
        self.first_captions.append(self.first_captions[-1] + len(content.captions))
        self.counts += content.counts
        counts = self.seen_in_damaged if content.counts[DAMAGED] else self.seen_in_whole
        counts.append(content.num_seen)
        self.named += content.named[: MAX_NAMED - len(self.named)]
        self.num_repeated_members += content.num_repeated_members
        if self.keeps_matches:
            self.matches.add(content)

    def estimate_lost(self) -> None:
        """Count each damaged shard as the samples that it lacks to the mean of whole shards."""
        if self.seen_in_damaged and self.seen_in_whole:
            usual = sum(self.seen_in_whole) / len(self.seen_in_whole)
            del self.counts[DAMAGED]
            self.counts[LOST] = sum(max(1, round(usual - n)) for n in self.seen_in_damaged)


def _write_index(
    shards: Sequence[Shard],
    request: IndexRequest,
    scan: Callable[[], Iterator[ShardContent]],
    matches: list[FilterMatches],
    folder: Path,
) -> None:
    """Write the index of shards into a new folder; add who fulfils `data.where` to `matches`."""
    totals = _Totals(keeps_matches=request.where is not None)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(ArrayWriter(folder / f"{name}.npy", dtype))
            for name, dtype in ARRAYS.items()
        }
        for content in scan():
            totals.add(content)
            for name, writer in writers.items():
                values = getattr(content, name)
                writer.append(np.frombuffer(values, np.uint8) if name == "captions" else values)
    _require_samples(request, totals)
    totals.estimate_lost()
    ids = map_array(folder / "ids.npy")
    summary = IndexSummary(
        num_samples=len(ids),
        first_samples=totals.first_samples,
        first_captions=totals.first_captions,
        counts=dict(totals.counts),
        named=totals.named,
        num_repeated=len(ids) - len(np.unique(ids)),
        num_repeated_members=totals.num_repeated_members,
    )
    write_sources(folder, VERSION, (shard.signature for shard in shards))
    atomic_write(folder / SUMMARY_FILE, json.dumps(asdict(summary)).encode())
    matches.append(totals.matches)


def _require_samples(request: IndexRequest, totals: _Totals) -> None:
    """Raise `UserError` if no sample is left."""
    if totals.first_samples[-1]:
        return
    number = totals.counts[TOO_SMALL]
    if number and not totals.named:
        raise UserError(
            f"data.min_side leaves none of {number} samples of {request.path}; lower it"
        )
    listed = "; ".join(totals.named[:3]) or "no image in them"
    raise UserError(f"{request.path} has no sample that can be used ({listed})")
