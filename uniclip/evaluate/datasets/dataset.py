"""What is known of an evaluation data set before it is opened: its form on disk, sizes, sums.

Nothing here imports numpy, Pillow or torch: a plan asks what is missing, and starts at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from uniclip.data.split import Part
from uniclip.errors import UserError, unknown

if TYPE_CHECKING:
    from uniclip.evaluate.datasets.images import Pictures

T = TypeVar("T")

HELD_OUT = 10
"""One in so many training pictures of each class is for validation, where no list says which."""
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""What packages are called that are not called like their module."""
FIRST = 32
"""Pictures of a folder whose names and sizes count, where index files say which there are."""
END = 1 << 16
"""Bytes read from each end of a large file for the fingerprint."""
READERS = 1
"""Raised when the same files are read as other samples, labels or parts."""


_looked_at: ContextVar[dict[Hashable, Any] | None] = ContextVar("looked_at", default=None)


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Within it each file and folder is fingerprinted once: for all arms of a plan, or all that is
    done with one set. (Not for a whole process: data may change while a worker lives.)"""
    token = _looked_at.set({} if (known := _looked_at.get()) is None else known)
    try:
        yield
    finally:
        _looked_at.reset(token)


def _once(what: Hashable, look: Callable[[], T]) -> T:
    known = _looked_at.get()
    if known is None:
        return look()
    if what not in known:
        known[what] = look()
    found: T = known[what]
    return found


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: where its files lie under the data root, and what is read from them."""

    name: str
    title: str
    kind: Literal["classification", "multilabel", "retrieval"] = "classification"
    metric: Literal["accuracy", "mean_per_class", "map11", "recall"] = "accuracy"
    files: Mapping[Part, tuple[str, ...]]
    """For each part that the set itself has: files and folders that it needs, relative to the data
    root; "a|b" is either, "*" any name."""
    reader: str
    """`module.function` here that opens one of those parts whole, from (data set, root, part)."""
    held_out: bool = False
    """The set has no validation part: one in ten of each class of `train` is held out."""
    expected: Mapping[Part, int] = field(default_factory=dict)
    """Pictures in each part that the set itself has."""
    lister: str | None = None
    """`module.function` that gives from (root, part) the files of a part's pictures, where opening
    it would import torch."""
    sums: Mapping[str, str] = field(default_factory=dict)
    """MD5 of files, as their publishers or torchvision state them."""
    how: str
    """One line: how to get the set."""
    torchvision: tuple[str, tuple[Mapping[str, Any], ...]] | None = None
    """torchvision's class that downloads it, and the arguments of each call."""
    library: str | None = None
    """A module that is needed to read it and does not come with ours."""
    place: Path | None = None
    """The folder of the user's own pictures, which stands in for the data root."""
    rule: str = "as published"
    """How the parts are drawn; part of the fingerprint."""
    stamps: str | None = None
    """`module.function` that says from (root, a part's files) what more counts in the fingerprint:
    name -> sum of its content."""
    templates: tuple[str, ...] = ()
    """Prompts that lie with the pictures, each with one {} for a name."""
    whole: tuple[str, str] | None = None
    """Folder of all pictures, and `module.function` that opens them, where others test on all."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What can be opened."""
        own = tuple(self.files)
        return (*own, "validation") if self.held_out and "train" in own else own

    def entire(self) -> Dataset:
        """All pictures as the test part; there is no other."""
        assert self.whole is not None, self.name
        folder, reader = self.whole
        return replace(
            self,
            files={"test": (folder,)},
            reader=reader,
            held_out=False,
            expected={},
            rule="all pictures are the test part",
        )

    def open(self, root: str | Path, part: Part) -> Pictures:
        """One part; `UserError` if it is not there, cannot be read, or there is no such part."""
        self._check(part)
        reason = self.missing(root, (part,))
        if reason is not None:
            raise UserError(f"{self.name} is missing: {reason}")
        if not self.held_out or part == "test":
            return self._read(root, part)
        from uniclip.evaluate.datasets import holdout

        return holdout.held_out(self._read(root, "train"), part, HELD_OUT)

    def missing(self, root: str | Path, parts: Sequence[Part] = ()) -> str | None:
        """What parts (default: all) lack under `root` and how to get it; None if they are there.

        Looks at names only; no picture is read.
        """
        base = self._base(root)
        for part in parts or self.parts:
            self._check(part)
            for wanted in self.files[self._source(part)]:
                if _found(base, wanted) is None:
                    return f"there is no {base / wanted.split('|')[0]}; {self.how}"
        if self.library is not None and find_spec(self.library) is None:
            package = DISTRIBUTIONS.get(self.library, self.library)
            return f"reading it needs another package: pip install {package}"
        return None

    def fingerprint(self, root: str | Path, parts: Sequence[Part] = ()) -> dict[str, Any]:
        """What the parts' data is, as plain JSON: their index files, and their folders' listing.

        A file counts by size and content (a large one by both of its ends), a folder by the names
        and sizes of what is in it, two levels deep, or, where index files list the pictures, by
        the first of them. No picture is read. Not seen: a picture that is rewritten at its size,
        the middle of a large file. Of the user's own, shards count by every byte (read once, and
        again when size or time of change differ), a table whole and by each picture's size.
        """
        stamps: dict[str, str] = {}
        for part in parts or self.parts:
            wanted = self.files[self._source(part)]
            stamps |= self._further(root, wanted)
            found = {w.split("|")[0]: _found(self._base(root), w) for w in wanted}
            listed = any(path is not None and path.is_file() for path in found.values())
            new = {name: path for name, path in found.items() if path and name not in stamps}
            stamps |= {name: _stamp(p, FIRST if listed else None) for name, p in new.items()}
        return {
            "set": self.name.split(":")[0],
            "readers": READERS,
            "rule": self.rule,
            "held out": HELD_OUT if self.held_out else None,
            "files": dict(sorted(stamps.items())),
        }

    def listed(self, root: str | Path, part: Part) -> tuple[int, Sequence[str | Path]]:
        """How many pictures a part of the set itself has here (`train`: what is held out too), and
        the files that it says they are in; none where several share one."""
        if self.lister is None:
            pictures = self._read(root, part)
            return len(pictures), getattr(pictures.read, "paths", ())
        base, lister = self._base(root), _function(self.lister)
        paths: list[str] = self._told(part, base, lambda: lister(base, part))
        return len(paths), paths

    def wrong_sums(self, root: str | Path) -> Iterator[tuple[str, bool]]:
        """Each file whose MD5 is known and that is here, and whether it is another."""
        for name, known in self.sums.items():
            path = self._base(root) / name
            if path.is_file():
                with open(path, "rb") as stream:
                    yield name, hashlib.file_digest(stream, "md5").hexdigest() != known

    def _further(self, root: str | Path, wanted: tuple[str, ...]) -> dict[str, str]:
        if self.stamps is None:
            return {}
        base, stamps = self._base(root), _function(self.stamps)
        found: dict[str, str] = _once((base, wanted), lambda: stamps(base, wanted))
        return found

    def _base(self, root: str | Path) -> Path:
        return Path(root) if self.place is None else self.place

    def _read(self, root: str | Path, part: Part) -> Pictures:
        base, reader = self._base(root), _function(self.reader)
        return self._told(part, base, lambda: reader(self, base, part))

    def _told(self, part: Part, root: Path, act: Callable[[], T]) -> T:
        try:
            return act()
        except UserError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, OSError, SyntaxError) as error:
            said = (str(error).splitlines() or [""])[0][:200]
            raise UserError(
                f"{self.name}: the index files of its {part} part under {root} cannot be read "
                f"({type(error).__name__}: {said}); {self.how}"
            ) from error

    def _source(self, part: Part) -> Part:
        return "train" if self.held_out and part == "validation" else part

    def _check(self, part: Part) -> None:
        if part not in self.parts:
            raise unknown(f"part of {self.name}", part, self.parts)


def _function(reference: str) -> Any:
    module, name = reference.rsplit(".", 1)
    return getattr(import_module(f"{__package__}.{module}"), name)


def locate(root: Path, wanted: str) -> Path:
    """The first that exists of "a|b" under `root`; `UserError` if none does."""
    path = _found(root, wanted)
    if path is None:
        raise UserError(f"there is no {root / wanted.split('|')[0]}")
    return path


def _found(root: Path, wanted: str) -> Path | None:
    for name in wanted.split("|"):
        path = min(root.glob(name), default=None) if "*" in name else root / name
        if path is not None and path.exists():
            return path
    return None


def _stamp(path: Path, most: int | None) -> str:
    return _once((path, most), lambda: _stamp_now(path, most))


def _stamp_now(path: Path, most: int | None) -> str:
    if path.is_file():
        return _file_stamp(path)
    digest = hashlib.blake2b(digest_size=16)
    for i, (name, size) in enumerate(_listing(path)):
        if i == most:
            break
        digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()


def _file_stamp(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as stream:
        digest.update(stream.read(END))
        stream.seek(max(END, size - END))
        digest.update(stream.read(END))
    return digest.hexdigest()


def _listing(folder: Path, prefix: str = "", depth: int = 2) -> Iterator[tuple[str, int]]:
    """Names and sizes of what is in `folder` and not hidden, in order; links are followed."""
    for name in sorted(n for n in os.listdir(folder) if not n.startswith(".")):
        status = os.stat(folder / name)
        if not stat.S_ISDIR(status.st_mode):
            yield f"{prefix}{name}", status.st_size
        elif depth > 0:
            yield from _listing(folder / name, f"{prefix}{name}/", depth - 1)
