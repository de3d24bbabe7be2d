"""What one shard holds: where its images are, and their captions, from its headers and texts.

A sample that cannot be used, since it has no image or no caption, is skipped, counted and named; so
is a shard from where it is damaged on. Samples that do not fulfil `data.where` are only marked.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config.sample_filter import MissingFieldError, SampleFilter
from uniclip.data.csv.rows import is_blank
from uniclip.data.webdataset.paths import Shard
from uniclip.data.webdataset.sample_ids import add_source
from uniclip.errors import DataChangedError, UserError
from uniclip.io.hashing import hash_sample_id
from uniclip.io.image_header import read_short_side
from uniclip.io.tar_scan import (
    BLOCK,
    DamagedTarError,
    Member,
    NotATarError,
    TarSample,
    TarScanner,
    iterate_samples,
)

IMAGE_EXTENSIONS = ("jpg", "png", "jpeg", "webp")
CAPTION_EXTENSION, CLASS_EXTENSION, FIELDS_EXTENSION = "txt", "cls", "json"
ID_PREFIXES = {CAPTION_EXTENSION: "csv", CLASS_EXTENSION: "labelled"}
"""Extension of the text of a sample -> what its id is hashed with: pairs have those of a CSV."""
TEXT_NAMES = {CAPTION_EXTENSION: "caption", CLASS_EXTENSION: "class"}
"""Extension of the text of a sample -> what it is called."""
MAX_NAMED = 20
"""Samples of a shard that cannot be used and are named; the others are counted."""
MAX_IMAGE_BYTES = 2**32 - 1
TOO_SMALL = "smaller than data.min_side"
"""Reason under which samples with smaller images count, which are not broken."""
DAMAGED = "damaged shard"
"""Reason under which a shard that is not whole counts, once."""


@dataclass(frozen=True, kw_only=True)
class ShardContent:
    """The n usable samples of a shard, in its order."""

    blocks: NDArray[np.uint32]
    """(n,) first byte of the image, in blocks of 512 bytes."""
    lengths: NDArray[np.uint32]
    """(n,) bytes of the image."""
    ids: NDArray[np.uint64]
    """(n,) id of the sample, from the name of its image and the number of its source."""
    split_positions: NDArray[np.uint32]
    """(n,) a hash of that name, which decides on the split."""
    caption_ends: NDArray[np.uint32]
    """(n,) end of the caption among `captions`."""
    captions: bytes
    """The captions in UTF-8, one after the other."""
    accepted: NDArray[np.bool_]
    """(n,) whether the sample fulfils `data.where`."""
    num_seen: int
    """Samples, usable or not, up to the damage of a shard that is not whole."""
    num_repeated_members: int
    """Members with the extension of an earlier one of their sample, which are left out."""
    counts: Counter[str]
    """Reason -> samples that cannot be used."""
    named: tuple[str, ...]
    """Some of these samples, with the reason."""
    num_filtered: int
    """Usable samples that do not fulfil `data.where`."""
    missing_fields: Counter[str]
    """Field that `data.where` reads -> usable samples without it, which do not fulfil it either."""
    known_fields: frozenset[str]
    """Fields of a sample, for messages."""


def scan_shard(
    shard: Shard,
    where: str | None = None,
    text_extension: str = CAPTION_EXTENSION,
    min_side: int = 0,
) -> ShardContent:
    """Read the headers, captions and (for `where`) metadata of a shard.

    Args:
        shard: The tar file.
        where: The condition that is looked at; None = none.
        text_extension: Extension of the caption; with that of the class, classes take its place.
        min_side: Shorter side that an image must have, in pixels.

    Raises:
        UserError: It cannot be read, is empty or is no tar file.
        DataChangedError: It was changed while it was read.
    """
    sample_filter = None if where is None else SampleFilter(where)
    collector = _Collector(shard, sample_filter, text_extension, min_side)
    try:
        descriptor = os.open(shard.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            scanner = TarScanner(descriptor)
            try:
                for sample in iterate_samples(scanner):
                    collector.add(sample, scanner.read)
            except NotATarError as error:
                raise UserError(
                    f"{shard.path} cannot be used as a shard: {error}; write or download it again "
                    "as an uncompressed tar file, or leave it out of data.path"
                ) from None
            except DamagedTarError as error:
                collector.skip(DAMAGED, f"{shard.path} is damaged: {error}")
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UserError(f"{shard.path} cannot be read ({error.strerror or error})") from None
    if (status.st_size, status.st_mtime_ns) != (shard.size, shard.mtime_ns):
        raise DataChangedError(f"{shard.path} was changed while it was read; run again")
    return collector.finish()


@dataclass
class _Collector:
    """Collects the samples of a shard."""

    shard: Shard
    sample_filter: SampleFilter | None
    text_extension: str
    min_side: int
    blocks: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    split_positions: list[int] = field(default_factory=list)
    caption_ends: list[int] = field(default_factory=list)
    captions: bytearray = field(default_factory=bytearray)
    accepted: list[bool] = field(default_factory=list)
    num_seen: int = 0
    num_repeated_members: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    num_filtered: int = 0
    missing_fields: Counter[str] = field(default_factory=Counter)
    known_fields: set[str] = field(default_factory=set)

    def skip(self, reason: str, description: str) -> None:
        """Count something that cannot be used, and name it."""
        self.counts[reason] += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(description)

    def add(self, sample: TarSample, read: Callable[[int, int], bytes]) -> None:
        """Add a sample if it can be used."""
        members = sample.members
        self.num_seen += 1
        self.num_repeated_members += sample.num_repeated
        for extension in IMAGE_EXTENSIONS:
            if extension in members:
                break
        else:
            return self._skip_sample(sample, "no image")
        name, start, size = members[extension]
        if not 0 < size <= MAX_IMAGE_BYTES:
            return self._skip_sample(sample, "empty image")
        caption_member = members.get(self.text_extension)
        text_name = TEXT_NAMES[self.text_extension]
        if caption_member is None:
            return self._skip_sample(sample, f"no {text_name}")
        caption = read(caption_member[1], caption_member[2]).strip()
        try:
            text = caption.decode()
        except UnicodeDecodeError:
            return self._skip_sample(sample, f"{text_name} not in UTF-8")
        if is_blank(text):
            return self._skip_sample(sample, f"empty {text_name}")
        if self.min_side and _is_smaller(self.min_side, sample, members[extension], read):
            self.counts[TOO_SMALL] += 1
            return None
        self.accepted.append(self.sample_filter is None or self._accepts(sample, text, read))
        name = _make_hashable(_strip_current_folder(name))
        self.blocks.append(start // BLOCK)
        self.lengths.append(size)
        prefix = ID_PREFIXES[self.text_extension]
        self.ids.append(hash_sample_id(f"{prefix}/{name}"))
        self.split_positions.append(hash_sample_id(f"split/{prefix}/{name}") >> 32)
        self.captions += caption
        self.caption_ends.append(len(self.captions))
        return None

    def _skip_sample(self, sample: TarSample, reason: str) -> None:
        if sample.is_cut_off:
            return  # the damage of the shard is counted
        self.skip(reason, f"{self.shard.path}: {_make_hashable(sample.key)}: {reason}")

    def _accepts(self, sample: TarSample, caption: str, read: Callable[[int, int], bytes]) -> bool:
        assert self.sample_filter is not None
        fields = _read_fields(sample, caption, read)
        try:
            accepted = self.sample_filter.accepts(fields)
        except MissingFieldError as error:
            self.missing_fields[str(error)] += 1
            self.known_fields = self.known_fields or set(fields)
            if not set(error.names) - set(fields):
                self.known_fields |= set(error.names)
            return False
        self.num_filtered += not accepted
        return accepted

    def finish(self) -> ShardContent:
        """Return what was collected."""
        return ShardContent(
            blocks=np.array(self.blocks, np.uint32),
            lengths=np.array(self.lengths, np.uint32),
            ids=add_source(np.array(self.ids, np.uint64), self.shard.source),
            split_positions=np.array(self.split_positions, np.uint32),
            caption_ends=np.array(self.caption_ends, np.uint32),
            captions=bytes(self.captions),
            accepted=np.array(self.accepted, np.bool_),
            num_seen=self.num_seen,
            num_repeated_members=self.num_repeated_members,
            counts=self.counts,
            named=tuple(self.named),
            num_filtered=self.num_filtered,
            missing_fields=self.missing_fields,
            known_fields=frozenset(self.known_fields),
        )


def _is_smaller(
    min_side: int, sample: TarSample, image: Member, read: Callable[[int, int], bytes]
) -> bool:
    """Return whether an image has a shorter side, in pixels; one of unknown size has not."""
    fields = _read_fields(sample, "", read)
    sides = [fields.get("width"), fields.get("height")]
    known_sides = [s for s in sides if isinstance(s, (int, float)) and s > 0]
    if len(known_sides) == 2:
        return min(known_sides) < min_side
    return 0 < read_short_side(read, image[1], image[2]) < min_side


def _read_fields(
    sample: TarSample, caption: str, read: Callable[[int, int], bytes]
) -> dict[str, Any]:
    """Return the metadata of a sample: those of its json, and what follows from the caption."""
    fields: dict[str, Any] = {}
    if FIELDS_EXTENSION in sample.members:
        _, start, size = sample.members[FIELDS_EXTENSION]
        try:
            content = json.loads(read(start, size))
        except (ValueError, RecursionError):
            content = None
        fields = content if isinstance(content, dict) else {}
    add_caption_fields(fields, caption)
    return fields


def add_caption_fields(fields: dict[str, Any], caption: str) -> None:
    """Add what follows from the caption, and from width and height, to the metadata of a sample."""
    width, height = fields.get("width"), fields.get("height")
    if isinstance(width, (int, float)) and isinstance(height, (int, float)) and height:
        with suppress(OverflowError):  # an integer beyond the range of floats
            fields["aspect"] = width / height
    fields["caption"] = caption
    fields["caption_length"] = len(caption)
    fields["caption_words"] = len(caption.split())


def _strip_current_folder(name: str) -> str:
    """Return the name of a member without leading "./", with which some tools write all names."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def _make_hashable(name: str) -> str:
    """Return a name as text; bytes that are not UTF-8 are written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
