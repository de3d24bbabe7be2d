"""Description of an evaluation data set before it is opened: format, files, sizes, checksums.

Neither numpy, Pillow nor torch is imported until a split is opened: a plan lists what is missing
and must start at once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from uniclip.data.split import SplitName
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.rgb_image import IMAGE_RULE

if TYPE_CHECKING:
    from uniclip.evaluate.datasets.images import DatasetKind, ImageDataset
    from uniclip.evaluate.metrics import Metric

T = TypeVar("T")

VALIDATION_ONE_IN = 10
"""One in this many training images of each class is held out for validation, where no published
list says which."""
PACKAGE_OF_MODULE = {"sklearn": "scikit-learn"}
"""Distribution name of modules whose distribution has another name."""
MAX_LISTED_FILES = 32
"""Files of a folder that enter the fingerprint, where index files list the images."""
SAMPLED_END_BYTES = 1 << 16
"""Bytes that the fingerprint reads from each end of a file."""
READERS_VERSION = 1
"""Raised when the same files are read as other samples, labels or splits."""


CAPTION_RULE = "equal tokens are one caption"
"""The rule of retrieval in the user's own data (`uniclip.evaluate.scoring.retrieval`)."""

_fingerprint_memo: ContextVar[dict[Hashable, Any] | None] = ContextVar(
    "fingerprint_memo", default=None
)


@contextmanager
def fingerprint_cache() -> Iterator[None]:
    """Fingerprint each file and folder once within this context.

    For all arms of a plan, or all evaluations of one data set. (Not for a whole process: data may
    change while a worker runs.)
    """
    token = _fingerprint_memo.set({} if (memo := _fingerprint_memo.get()) is None else memo)
    try:
        yield
    finally:
        _fingerprint_memo.reset(token)


@contextmanager
def fresh_fingerprint_cache() -> Iterator[None]:
    """Fingerprint each file and folder anew within this context, whatever is known around it."""
    token = _fingerprint_memo.set({})
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


class SplitReader(ABC):
    """Reads the splits of a data set in one format on disk. Picklable."""

    digests_all_files: ClassVar[bool] = False
    """Whether `compute_digests` covers all files, under names that do not depend on where they
    lie."""

    @abstractmethod
    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        """Open a split that `dataset` has on disk; `root` is the data root or the user's folder."""

    def read_templates(self, root: Path) -> tuple[str, ...]:
        """Return the prompt templates that lie beside the images; empty if there are none."""
        return ()

    def read_class_names(self, root: Path) -> dict[str, tuple[str, ...]]:
        """Return prompt names by class that lie beside the images; empty if there are none."""
        return {}

    def list_files(self, root: Path, split: SplitName) -> list[str] | None:
        """Return the image files of a split where opening it would import torch; None elsewhere."""
        return None

    def compute_digests(self, root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
        """Return further entries of the fingerprint: name -> digest of its content.

        patterns: the split's entry in `Dataset.files`. An entry under the name of a pattern stands
        in for the digest that the fingerprint would otherwise have of that file or folder.
        """
        return {}


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One data set: where its files lie under the data root, and how they are read."""

    name: str
    title: str
    kind: DatasetKind = "classification"
    metric: Metric = "accuracy"
    files: Mapping[SplitName, tuple[str, ...]]
    """For each split on disk: the files and folders that it needs, relative to the data root; "a|b"
    is either, "*" matches any name."""
    reader: SplitReader
    held_out: bool = False
    """Whether the data set has no validation split: one in ten of each class of `train` is held
    out."""
    expected_counts: Mapping[SplitName, int] = field(default_factory=dict)
    """Published number of images of each split on disk."""
    md5_sums: Mapping[str, str] = field(default_factory=dict)
    """MD5 of files, as published or as in torchvision."""
    download_hint: str
    """One line: how to get the data set."""
    torchvision: tuple[str, tuple[Mapping[str, Any], ...]] | None = None
    """torchvision's class that downloads it, and the arguments of each call."""
    required_module: str | None = None
    """A module that reading it needs and that is no dependency of this package."""
    user_folder: Path | None = None
    """Folder of user-defined data, which replaces the data root."""
    split_rule: str = "as published"
    """How the splits are drawn; part of the fingerprint."""
    class_names_from: str | None = None
    """Another data set, whose keys of classes and prompt names this one has."""
    templates_from: str | None = None
    """Another data set, whose prompt templates this one has where no protocol states others."""
    templates: tuple[str, ...] = ()
    """Prompt templates stored with the images, each with one {} for the class name."""
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Prompt names stored with the images, by class."""
    source: Dataset | None = None
    """Another data set, whose images this one has: they are embedded once for both."""
    reference: Dataset | None = None
    """The data set without the shift, of whose classes this one has all or some; where it is
    present, accuracies are compared with those on it."""
    has_long_captions: bool = False
    """Whether the share of captions that a model cuts is scored."""
    has_templates: bool = False
    """Whether prompt templates lie beside the published images."""
    copy_folder: str | None = None
    """Folder of the copy in WebDataset shards that stands in for the publisher's files
    (`uniclip.evaluate.datasets.copies`); names and templates are those of the copy."""
    all_images: tuple[str, SplitReader] | None = None
    """Folder of all images, and what reads them, where a protocol tests on all of them."""

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that can be opened."""
        stored = tuple(self.files)
        return (*stored, "validation") if self.held_out and "train" in stored else stored

    def with_all_as_test(self) -> Dataset:
        """Return the data set with all its images as the test split, and no other split.

        Of a copy in shards, the test split is all that there is.
        """
        if self.copy_folder is not None:
            return replace(self, files={"test": self.files["test"]}, held_out=False)
        assert self.all_images is not None, self.name
        folder, reader = self.all_images
        return replace(
            self,
            files={"test": (folder,)},
            reader=reader,
            held_out=False,
            expected_counts={},
            split_rule="all images are the test split",
        )

    def open(self, root: str | Path, split: SplitName) -> ImageDataset:
        """Open a split; `UserError` if it is missing, cannot be read, or does not exist."""
        self._require_split(split)
        reason = self.describe_missing(root, (split,))
        if reason is not None:
            raise UserError(f"{self.name} is missing: {reason}")
        if not self.held_out or split == "test":
            return self._read_split(root, split)
        from uniclip.evaluate.datasets import holdout

        return holdout.select_held_out(self._read_split(root, "train"), split, VALIDATION_ONE_IN)

    def describe_missing(self, root: str | Path, splits: Sequence[SplitName] = ()) -> str | None:
        """Describe what splits (default: all) lack under `root` and how to get it; None if nothing.

        Only file names are looked up; no image is read.
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
        """Return the fingerprint of the splits (default: all), as plain JSON.

        A file enters by size and content (a large one by both ends), a folder by the names and
        sizes of its entries, two levels deep; where index files list the images, by the first 32
        of them. No image is read. Not detected: an image rewritten at the same size, and the middle
        of a large file. Of user-defined data, shards enter by every byte (read once, and again
        when size or time of change differ), a CSV file whole and by each image's size.
        """
        digests: dict[str, str] = {}
        base = self._resolve_root(root)
        for split in splits or self.splits:
            patterns = self.files[self._stored_split(split)]
            digests |= _memoize(
                (base, patterns), partial(self.reader.compute_digests, base, patterns)
            )
            if self.reader.digests_all_files:
                continue
            paths = {p.split("|")[0]: _find_path(base, p) for p in patterns}
            has_index_file = any(path is not None and path.is_file() for path in paths.values())
            undigested = {
                name: path for name, path in paths.items() if path and name not in digests
            }
            digests |= {
                name: _digest_path(p, MAX_LISTED_FILES if has_index_file else None)
                for name, p in undigested.items()
            }
        return {
            "dataset": self.name.split(":")[0],
            "readers_version": READERS_VERSION,
            "split_rule": self.split_rule,
            "validation_one_in": VALIDATION_ONE_IN if self.held_out else None,
            "files": dict(sorted(digests.items())),
            **({} if self.user_folder is None else {"images": IMAGE_RULE}),
            **(
                {"captions": CAPTION_RULE}
                if self.user_folder is not None and self.kind == "retrieval"
                else {}
            ),
        }

    def count_and_list_images(
        self, root: str | Path, split: SplitName
    ) -> tuple[int, Sequence[str | Path]]:
        """Count the images of a split on disk (held-out ones in `train`), and list their files.

        The list is empty where several images share a file.
        """
        base = self._resolve_root(root)
        files = self._with_read_errors(split, base, lambda: self.reader.list_files(base, split))
        if files is not None:
            return len(files), files
        opened = self._read_split(root, split)
        return len(opened), getattr(opened.reader, "paths", ())

    def compare_md5_sums(self, root: str | Path) -> Iterator[tuple[str, bool]]:
        """Yield each present file whose MD5 is published, and whether it differs from that."""
        for name, expected_md5 in self.md5_sums.items():
            path = self._resolve_root(root) / name
            if path.is_file():
                with open(path, "rb") as stream:
                    yield name, hashlib.file_digest(stream, "md5").hexdigest() != expected_md5

    def _resolve_root(self, root: str | Path) -> Path:
        return Path(root) if self.user_folder is None else self.user_folder

    def _read_split(self, root: str | Path, split: SplitName) -> ImageDataset:
        base = self._resolve_root(root)
        return self._with_read_errors(split, base, lambda: self.reader.read(self, base, split))

    def _with_read_errors(self, split: SplitName, root: Path, action: Callable[[], T]) -> T:
        try:
            return action()
        except UserError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, OSError, SyntaxError) as error:
            message = (str(error).splitlines() or [""])[0][:200]
            raise UserError(
                f"{self.name}: the index files of its {split} split under {root} cannot be read "
                f"({type(error).__name__}: {message}); {self.download_hint}"
            ) from error

    def _stored_split(self, split: SplitName) -> SplitName:
        return "train" if self.held_out and split == "validation" else split

    def _require_split(self, split: SplitName) -> None:
        if split not in self.splits:
            raise make_unknown_name_error(f"split of {self.name}", split, self.splits)


def locate(root: Path, pattern: str) -> Path:
    """Return the first path of the alternatives "a|b" that exists; `UserError` if none does."""
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
    """Yield names and sizes of the visible files in `folder`, sorted; links are followed."""
    for name in sorted(n for n in os.listdir(folder) if not n.startswith(".")):
        status = os.stat(folder / name)
        if not stat.S_ISDIR(status.st_mode):
            yield f"{prefix}{name}", status.st_size
        elif depth > 0:
            yield from _iterate_files(folder / name, f"{prefix}{name}/", depth - 1)
