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

from uniclip.data.split import SplitName
from uniclip.errors import UserError, make_unknown_name_error

if TYPE_CHECKING:
    from uniclip.evaluate.datasets.images import ImageDataset

T = TypeVar("T")

VALIDATION_ONE_IN = 10
"""One in so many training pictures of each class is for validation, where no list says which."""
PACKAGE_OF_MODULE = {"sklearn": "scikit-learn"}
"""What packages are called that are not called like their module."""
MAX_LISTED_FILES = 32
"""Pictures of a folder whose names and sizes count, where index files say which there are."""
SAMPLED_END_BYTES = 1 << 16
"""Bytes read from each end of a large file for the fingerprint."""
READERS_VERSION = 1
"""Raised when the same files are read as other samples, labels or parts."""


_fingerprint_memo: ContextVar[dict[Hashable, Any] | None] = ContextVar("looked_at", default=None)


@contextmanager
def fingerprint_cache() -> Iterator[None]:
    """Within it each file and folder is fingerprinted once: for all arms of a plan, or all that is
    done with one set. (Not for a whole process: data may change while a worker lives.)"""
    token = _fingerprint_memo.set({} if (memo := _fingerprint_memo.get()) is None else memo)
    try:
        yield
    finally:
        _fingerprint_memo.reset(token)


def _memoize(key: Hashable, compute: Callable[[], T]) -> T:
    memo = _fingerprint_memo.get()
    if memo is None:
        return compute()
    if key not in memo:
        memo[key] = compute()
    value: T = memo[key]
    return value


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: where its files lie under the data root, and what is read from them."""

    name: str
    title: str
    kind: Literal["classification", "multilabel", "retrieval"] = "classification"
    metric: Literal["accuracy", "mean_per_class", "map11", "recall"] = "accuracy"
    files: Mapping[SplitName, tuple[str, ...]]
    """For each part that the set itself has: files and folders that it needs, relative to the data
    root; "a|b" is either, "*" any name."""
    reader: str
    """`module.function` here that opens one of those parts whole, from (data set, root, part)."""
    held_out: bool = False
    """The set has no validation part: one in ten of each class of `train` is held out."""
    expected_counts: Mapping[SplitName, int] = field(default_factory=dict)
    """Pictures in each part that the set itself has."""
    list_files: str | None = None
    """`module.function` that gives from (root, part) the files of a part's pictures, where opening
    it would import torch."""
    md5_sums: Mapping[str, str] = field(default_factory=dict)
    """MD5 of files, as their publishers or torchvision state them."""
    download_hint: str
    """One line: how to get the set."""
    torchvision: tuple[str, tuple[Mapping[str, Any], ...]] | None = None
    """torchvision's class that downloads it, and the arguments of each call."""
    required_module: str | None = None
    """A module that is needed to read it and does not come with ours."""
    user_folder: Path | None = None
    """The folder of the user's own pictures, which stands in for the data root."""
    split_rule: str = "as published"
    """How the parts are drawn; part of the fingerprint."""
    content_digests: str | None = None
    """`module.function` that says from (root, a part's files) what more counts in the fingerprint:
    name -> sum of its content."""
    templates: tuple[str, ...] = ()
    """Prompts that lie with the pictures, each with one {} for a name."""
    all_images: tuple[str, str] | None = None
    """Folder of all pictures, and `module.function` that opens them, where others test on all."""

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """What can be opened."""
        own_splits = tuple(self.files)
        return (
            (*own_splits, "validation") if self.held_out and "train" in own_splits else own_splits
        )

    def with_all_as_test(self) -> Dataset:
        """All pictures as the test part; there is no other."""
        assert self.all_images is not None, self.name
        folder, reader = self.all_images
        return replace(
            self,
            files={"test": (folder,)},
            reader=reader,
            held_out=False,
            expected_counts={},
            split_rule="all pictures are the test part",
        )

    def open(self, root: str | Path, split: SplitName) -> ImageDataset:
        """One part; `UserError` if it is not there, cannot be read, or there is no such part."""
        self._require_split(split)
        reason = self.describe_missing(root, (split,))
        if reason is not None:
            raise UserError(f"{self.name} is missing: {reason}")
        if not self.held_out or split == "test":
            return self._read_split(root, split)
        from uniclip.evaluate.datasets import holdout

        return holdout.select_held_out(self._read_split(root, "train"), split, VALIDATION_ONE_IN)

    def describe_missing(self, root: str | Path, splits: Sequence[SplitName] = ()) -> str | None:
        """What parts (default: all) lack under `root` and how to get it; None if they are there.

        Looks at names only; no picture is read.
        """
        base = self._resolve_root(root)
        for split in splits or self.splits:
            self._require_split(split)
            for pattern in self.files[self._stored_split(split)]:
                if _find_path(base, pattern) is None:
                    return f"there is no {base / pattern.split('|')[0]}; {self.download_hint}"
        if self.required_module is not None and find_spec(self.required_module) is None:
            package = PACKAGE_OF_MODULE.get(self.required_module, self.required_module)
            return f"reading it needs another package: pip install {package}"
        return None

    def fingerprint(self, root: str | Path, splits: Sequence[SplitName] = ()) -> dict[str, Any]:
        """What the parts' data is, as plain JSON: their index files, and their folders' listing.

        A file counts by size and content (a large one by both of its ends), a folder by the names
        and sizes of what is in it, two levels deep, or, where index files list the pictures, by
        the first of them. No picture is read. Not seen: a picture that is rewritten at its size,
        the middle of a large file. Of the user's own, shards count by every byte (read once, and
        again when size or time of change differ), a table whole and by each picture's size.
        """
        digests: dict[str, str] = {}
        for split in splits or self.splits:
            patterns = self.files[self._stored_split(split)]
            digests |= self._compute_content_digests(root, patterns)
            paths = {w.split("|")[0]: _find_path(self._resolve_root(root), w) for w in patterns}
            has_index_file = any(path is not None and path.is_file() for path in paths.values())
            undigested = {
                name: path for name, path in paths.items() if path and name not in digests
            }
            digests |= {
                name: _digest_path(p, MAX_LISTED_FILES if has_index_file else None)
                for name, p in undigested.items()
            }
        return {
            "set": self.name.split(":")[0],
            "readers": READERS_VERSION,
            "rule": self.split_rule,
            "held out": VALIDATION_ONE_IN if self.held_out else None,
            "files": dict(sorted(digests.items())),
        }

    def count_and_list_images(
        self, root: str | Path, split: SplitName
    ) -> tuple[int, Sequence[str | Path]]:
        """How many pictures a part of the set itself has here (`train`: what is held out too), and
        the files that it says they are in; none where several share one."""
        if self.list_files is None:
            dataset = self._read_split(root, split)
            return len(dataset), getattr(dataset.reader, "paths", ())
        base, list_files = self._resolve_root(root), _load_function(self.list_files)
        paths: list[str] = self._with_read_errors(split, base, lambda: list_files(base, split))
        return len(paths), paths

    def compare_md5_sums(self, root: str | Path) -> Iterator[tuple[str, bool]]:
        """Each file whose MD5 is known and that is here, and whether it is another."""
        for name, expected_md5 in self.md5_sums.items():
            path = self._resolve_root(root) / name
            if path.is_file():
                with open(path, "rb") as stream:
                    yield name, hashlib.file_digest(stream, "md5").hexdigest() != expected_md5

    def _compute_content_digests(
        self, root: str | Path, patterns: tuple[str, ...]
    ) -> dict[str, str]:
        if self.content_digests is None:
            return {}
        base, compute_digests = self._resolve_root(root), _load_function(self.content_digests)
        digests: dict[str, str] = _memoize(
            (base, patterns), lambda: compute_digests(base, patterns)
        )
        return digests

    def _resolve_root(self, root: str | Path) -> Path:
        return Path(root) if self.user_folder is None else self.user_folder

    def _read_split(self, root: str | Path, split: SplitName) -> ImageDataset:
        base, reader = self._resolve_root(root), _load_function(self.reader)
        return self._with_read_errors(split, base, lambda: reader(self, base, split))

    def _with_read_errors(self, split: SplitName, root: Path, action: Callable[[], T]) -> T:
        try:
            return action()
        except UserError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, OSError, SyntaxError) as error:
            message = (str(error).splitlines() or [""])[0][:200]
            raise UserError(
                f"{self.name}: the index files of its {split} part under {root} cannot be read "
                f"({type(error).__name__}: {message}); {self.download_hint}"
            ) from error

    def _stored_split(self, split: SplitName) -> SplitName:
        return "train" if self.held_out and split == "validation" else split

    def _require_split(self, split: SplitName) -> None:
        if split not in self.splits:
            raise make_unknown_name_error(f"part of {self.name}", split, self.splits)


def _load_function(reference: str) -> Any:
    module, name = reference.rsplit(".", 1)
    return getattr(import_module(f"{__package__}.{module}"), name)


def locate(root: Path, pattern: str) -> Path:
    """The first that exists of "a|b" under `root`; `UserError` if none does."""
    path = _find_path(root, pattern)
    if path is None:
        raise UserError(f"there is no {root / pattern.split('|')[0]}")
    return path


def _find_path(root: Path, pattern: str) -> Path | None:
    for name in pattern.split("|"):
        path = min(root.glob(name), default=None) if "*" in name else root / name
        if path is not None and path.exists():
            return path
    return None


def _digest_path(path: Path, max_files: int | None) -> str:
    return _memoize((path, max_files), lambda: _compute_path_digest(path, max_files))


def _compute_path_digest(path: Path, max_files: int | None) -> str:
    if path.is_file():
        return _digest_file(path)
    digest = hashlib.blake2b(digest_size=16)
    for i, (name, size) in enumerate(_iterate_files(path)):
        if i == max_files:
            break
        digest.update(f"{name}\0{size}\n".encode())
    return digest.hexdigest()


def _digest_file(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as stream:
        digest.update(stream.read(SAMPLED_END_BYTES))
        stream.seek(max(SAMPLED_END_BYTES, size - SAMPLED_END_BYTES))
        digest.update(stream.read(SAMPLED_END_BYTES))
    return digest.hexdigest()


def _iterate_files(folder: Path, prefix: str = "", depth: int = 2) -> Iterator[tuple[str, int]]:
    """Names and sizes of what is in `folder` and not hidden, in order; links are followed."""
    for name in sorted(n for n in os.listdir(folder) if not n.startswith(".")):
        status = os.stat(folder / name)
        if not stat.S_ISDIR(status.st_mode):
            yield f"{prefix}{name}", status.st_size
        elif depth > 0:
            yield from _iterate_files(folder / name, f"{prefix}{name}/", depth - 1)
