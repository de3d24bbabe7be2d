"""Which shards a `data.path` or another path names: a folder, a file, a glob or a brace range.

Several are joined with "::".
Names are expanded as open_clip does, by the rules of Bash: `{00000..01242}`, `{a,b}`.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from uniclip.config.data import split_sources
from uniclip.errors import UserError
from uniclip.io.atomic import resolve_staged_path

BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
MAX_SHARDS = 1_000_000
"""Shards that a brace range may name: more are a slip."""
SEVERAL_SOURCES_RULE = (
    "webdataset/2: hash of the name of the image and, from the second source on, of its number"
)
"""What the ids of the samples of several sources are, "its number" being that of the source; it is
part of the identity of such data."""
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""How the names of tar files end that are compressed, and so cannot be read in place."""
WILDCARDS = re.compile(r"[*?\[]")

ListingT = TypeVar("ListingT")


@dataclass(frozen=True)
class Shard:
    """A tar file as it is on the disk."""

    path: str
    """Where it is read: its copy on this node, if it is staged."""
    name: str
    """Its path within the common folder of its source."""
    source: int
    """Number of the source that names it."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of change of its content, in nanoseconds."""

    @property
    def signature(self) -> tuple[str, int, int]:
        """What differs after it was rewritten or grew."""
        return self.path, self.size, self.mtime_ns


_listings: ContextVar[dict[str, Any] | None] = ContextVar("listings", default=None)
"""Path -> its shards, or another listing of it, within `remember_listings`."""


@contextmanager
def remember_listings() -> Iterator[None]:
    """Context in which the shards of a path are listed only once, such as for all arms of a plan.

    Changes of the shards within it are not seen.
    """
    token = _listings.set({})
    try:
        yield
    finally:
        _listings.reset(token)


def list_shards(path: str, key: str = "data.path") -> list[Shard]:
    """Return the shards that a path names, source by source, each in the order of names.

    key: The key of the configuration that the path is the value of, for messages.

    Raises:
        UserError: A source names no shard, or one that does not exist; or two name the same one.
    """
    return get_listing(path, lambda: _list_shards(path, key))


def get_listing(name: str, make: Callable[[], ListingT]) -> ListingT:
    """Return a listing of this name; within `remember_listings` it is made only once."""
    listings = _listings.get()
    if listings is None:
        return make()
    if name not in listings:
        listings[name] = make()
    listing: ListingT = listings[name]
    return listing


def _list_shards(path: str, key: str) -> list[Shard]:
    shards: list[Shard] = []
    for number, source in enumerate(split_sources(path)):
        files = list(_list_files(source))
        if not files:
            raise UserError(
                f"{key}={source} names no shard{_describe_other_files(source)}; write a folder of "
                "tar files, a tar file, a glob or a brace range, such as shards/{00000..01242}.tar"
            )
        folder = os.path.commonpath([os.path.dirname(os.path.abspath(file)) for file in files])
        shards += [_stat_shard(file, folder, number, key) for file in files]
    source_of: dict[str, int] = {}
    for shard in shards:
        if source_of.setdefault(shard.path, shard.source) != shard.source:
            raise UserError(f"{key} names {shard.path} in two sources; name it once")
    return shards


def describe_compressed(path: str) -> list[str]:
    """Return a sentence on the compressed tar files beside the shards, if there are any."""
    folders = map(os.path.expanduser, split_sources(path))
    files = [file for folder in folders for file in _list_compressed(folder)]
    if not files:
        return []
    verb = "tar file is" if len(files) == 1 else "tar files are"
    return [f"{len(files):,} compressed {verb} not read: {', '.join(files[:3])}"]


def has_several_sources(shards: Sequence[Shard]) -> bool:
    """Return whether the shards of a path are of several sources."""
    return bool(shards) and shards[-1].source > 0


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the texts that a pattern with braces stands for, as Bash does; itself if it has none.

    `{01..03}` keeps the width of its numbers, `{1..9..2}` takes every second one, `{a,b}` lists.

    Raises:
        UserError: A range has more than `MAX_SHARDS` numbers.
    """
    for match in BRACES.finditer(pattern):
        items = _expand_range(match[1])
        if items is None and "," in match[1]:
            items = match[1].split(",")
        if items is not None:
            for item in items:
                yield from expand_braces(pattern[: match.start()] + item + pattern[match.end() :])
            return
    yield pattern


def _expand_range(text: str) -> list[str] | None:
    match = NUMBERS.fullmatch(text)
    if match is None:
        return None
    first, last, step = int(match[1]), int(match[2]), abs(int(match[3] or 1)) or 1
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if len(numbers) > MAX_SHARDS:
        raise UserError(f"the range {{{text}}} of data.path has {len(numbers):,} numbers")
    is_padded = any(re.match(r"-?0\d", end) for end in (match[1], match[2]))
    width = max(len(match[1]), len(match[2])) if is_padded else 0
    return [f"{number:0{width}d}" for number in numbers]


def _list_files(source: str) -> Iterator[str]:
    """Yield the files of one source in order, each once; those of a folder are its tar files."""
    source = os.path.expanduser(source)
    if os.path.isdir(source):
        yield from sorted(glob.glob(os.path.join(glob.escape(source), "*.tar")))
    elif os.path.exists(source):
        yield source
    else:
        names: dict[str, str] = {}
        """Absolute path -> as it is written first: one file may have several spellings."""
        folder, rest = _split_existing(source)
        for pattern in expand_braces(rest):
            path = folder + pattern
            has_wildcards = WILDCARDS.search(pattern) and not os.path.exists(path)
            for name in (
                sorted(glob.glob(glob.escape(folder) + pattern)) if has_wildcards else [path]
            ):
                names.setdefault(os.path.abspath(name), name)
            if len(names) > MAX_SHARDS:
                raise UserError(f"data.path={source} names more than {MAX_SHARDS:,} shards")
        yield from names.values()


def _describe_other_files(source: str) -> str:
    """Return what a folder without tar files has instead: those of folders, or compressed ones."""
    folder = os.path.expanduser(source)
    if not os.path.isdir(folder):
        return ""
    for pattern in ("*/*.tar", "*/*/*.tar"):
        nested = next(glob.iglob(os.path.join(glob.escape(folder), pattern)), None)
        if nested is not None:
            name = os.path.relpath(nested, folder)
            return (
                f": its tar files are in folders of it ({name}), with the glob {source}/{pattern}"
            )
    compressed = _list_compressed(folder)
    if compressed:
        name, number = os.path.basename(compressed[0]), len(compressed)
        return f", but compressed files ({number}, such as {name}), which must be decompressed"
    return ""


def _list_compressed(folder: str) -> list[str]:
    """Return the compressed tar files of a folder, sorted."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(COMPRESSED)]


def _split_existing(source: str) -> tuple[str, str]:
    """Return the longest folder that a source begins with and that exists, and the rest.

    Braces and wildcards in the name of such a folder are characters like others.
    """
    parts = source.split("/")
    for i in range(len(parts) - 1, 0, -1):
        folder = "/".join(parts[:i])
        if os.path.isdir(folder):
            return f"{folder}/", "/".join(parts[i:])
    return "", source


def _stat_shard(file: str, folder: str, source: int, key: str) -> Shard:
    path = str(resolve_staged_path(file))
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{key} names {file}, which cannot be read ({reason})") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{key} names {file}, which is not a file; name tar files")
    name = os.path.abspath(file).removeprefix(folder).lstrip(os.sep).replace(os.sep, "/")
    return Shard(os.path.abspath(path), name, source, status.st_size, status.st_mtime_ns)
