"""WebDataset shards in clip-benchmark's layout, read and written.

    <folder>/{classnames.txt, zeroshot_classification_templates.txt, dataset_type.txt}
    <folder>/<split>/{nshards.txt, 0.tar, 1.tar, ...}

A sample is a few members with one key: an image, and its label (`.cls`, a number), its labels
(`.npy`, 0 or 1 for each class) or its captions (`.txt`, one a line). `write_shards` adds
`.difficult.npy` where a class is excluded from the score; other readers ignore it.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import DatasetKind, ImageDataset
from uniclip.io import hashing, rgb_image
from uniclip.io.memo import disk_memoize
from uniclip.io.tar_scan import DamagedTarError, TarScanner, iterate_samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from uniclip.data.split import SplitName

CLASSES_FILE = "classnames.txt"
TEMPLATES_FILE = "zeroshot_classification_templates.txt"
TYPE_FILE = "dataset_type.txt"
IMAGE_EXTENSIONS = ("webp", "png", "jpg", "jpeg")
LABEL_EXTENSION = {"classification": "cls", "multilabel": "npy", "retrieval": "txt"}
DIFFICULT_EXTENSION = "difficult.npy"
MAX_SAMPLES_PER_SHARD, MAX_BYTES_PER_SHARD = 10_000, 10**9
RECENT_SECONDS = 2.0
"""A file changed less than this ago may change again within the resolution of its timestamp."""


class WebDatasetReader(SplitReader):
    """Samples in the order of the shards. Nothing is unpickled."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / Path(dataset.files[split][0]).parent
        num_shards = int((folder / "nshards.txt").read_text())
        samples = [s for i in range(num_shards) for s in read_samples(folder / f"{i}.tar")]
        extension = LABEL_EXTENSION[dataset.kind]
        require_members(samples, extension)
        if not samples:
            raise UserError(f"{folder} has shards without samples; write them again")
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(s.key for s in samples),
            reader=ShardReader(tuple(s.location for s in samples if s.location is not None)),
            **decode_labels(dataset.kind, root, [s.fields for s in samples]),
        )

    def compute_digests(self, root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
        """Digest each shard of a split, and the files beside the splits."""
        files = [
            *sorted((root / patterns[1]).glob("*.tar")),
            *(root / name for name in (CLASSES_FILE, TEMPLATES_FILE, TYPE_FILE)),
        ]
        return {p.relative_to(root).as_posix(): _digest_file(p) for p in files if p.is_file()}


@dataclass(frozen=True)
class ShardReader:
    """Images within shards, by the rule of `uniclip.io.rgb_image`."""

    locations: tuple[tuple[Path, int, int], ...]
    """File, first byte and length of each."""

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        path, start, length = self.locations[i]
        with open(path, "rb") as stream:
            stream.seek(start)
            return rgb_image.read_rgb_image(io.BytesIO(stream.read(length)))

    def locate(self, i: int) -> tuple[str, int, int | None]:
        """Return file, first byte and number of bytes of image `i`."""
        path, start, length = self.locations[i]
        return str(path), start, length


@dataclass
class ShardSample:
    """The members of one key."""

    shard: Path
    key: str
    location: tuple[Path, int, int] | None = None
    """File, first byte and length of the image."""
    fields: dict[str, bytes] = field(default_factory=dict)
    """Content of the other members, by extension."""


def read_samples(shard: Path) -> list[ShardSample]:
    """Return the samples of a shard, in which members of one key are adjacent.

    Raises:
        UserError: It is not a whole tar file.
    """
    samples = []
    with open(shard, "rb") as stream:
        scanner = TarScanner(stream.fileno())
        try:
            for tar_sample in iterate_samples(scanner):
                sample = ShardSample(shard, tar_sample.key.rpartition("/")[2])
                for extension, (_, start, size) in tar_sample.members.items():
                    if extension in IMAGE_EXTENSIONS:
                        sample.location = (shard, start, size)
                    else:
                        sample.fields[extension] = scanner.read(start, size)
                samples.append(sample)
        except DamagedTarError as error:
            raise UserError(f"{shard} is not a whole tar file ({error}); write it again") from None
    return samples


def require_members(samples: Sequence[ShardSample], *extensions: str) -> None:
    """Raise `UserError` unless every sample has an image, and members with these extensions."""
    for sample in samples:
        missing = [f".{e}" for e in extensions if e not in sample.fields]
        if sample.location is None or missing:
            missing_member = "image" if sample.location is None else missing[0]
            raise UserError(
                f"{sample.shard}: sample {sample.key} has no {missing_member}; "
                "write the shards again"
            )


def decode_labels(kind: DatasetKind, root: Path, rows: list[dict[str, bytes]]) -> dict[str, Any]:
    """Return fields of `ImageDataset`: labels and class names, or captions, from each sample."""
    import numpy as np

    if kind == "retrieval":
        return {"captions": tuple(tuple(r["txt"].decode().splitlines()) for r in rows)}
    classes_file = root / CLASSES_FILE
    text = classes_file.read_text(encoding="utf-8") if classes_file.is_file() else ""
    class_names = [line.strip() for line in text.splitlines()]
    truth: dict[str, Any]
    if kind == "multilabel":
        labels = np.stack([decode_array(r["npy"]) for r in rows]).astype(np.int64)
        difficult = [
            decode_array(r[DIFFICULT_EXTENSION])
            if DIFFICULT_EXTENSION in r
            else 0 * decode_array(r["npy"])
            for r in rows
        ]
        n = labels.shape[1]
        truth = {"labels": labels, "difficult": np.stack(difficult).astype(np.bool_)}
    else:
        labels = np.array([int(r["cls"]) for r in rows], np.int64)
        n = int(labels.max()) + 1
        truth = {"labels": labels}
    if labels.min() < 0 or (class_names and n > len(class_names)):
        raise UserError(
            f"{classes_file} has {len(class_names)} names but there are labels up to {n - 1}"
        )
    return {**truth, "classes": tuple(class_names) or tuple(map(str, range(n)))}


def _digest_file(path: Path) -> str:
    """Digest a whole file; memoized by size and times of change, unless these are recent."""
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < RECENT_SECONDS:
        return hashing.digest_file(path)
    key = hashing.digest([str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns], 32)
    return str(disk_memoize("shards", key, lambda: hashing.digest_file(path)))


def write_shards(
    dataset: ImageDataset,
    folder: Path,
    *,
    templates: Sequence[str] = (),
    max_samples: int = MAX_SAMPLES_PER_SHARD,
    max_bytes: int = MAX_BYTES_PER_SHARD,
) -> int:
    """Write a split as shards of at most so many samples and bytes; return their number.

    templates: with "{c}" for the class name. Images keep every bit (lossless WebP). Raises
    `UserError` if the split has been written there.
    """
    split_folder = folder / dataset.split
    if (split_folder / "nshards.txt").exists():
        raise UserError(f"{split_folder} holds shards already; name another folder")
    split_folder.mkdir(parents=True, exist_ok=True)
    _write_metadata(dataset, folder, templates)
    shard_index, i = 0, 0
    while i < len(dataset):
        first_index = i
        with tarfile.open(split_folder / f"{shard_index}.tar", "w") as archive:
            while i < len(dataset) and i - first_index < max_samples and archive.offset < max_bytes:
                for extension, content in _encode_sample(dataset, i):
                    member = tarfile.TarInfo(f"s{i:07d}.{extension}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
                i += 1
        shard_index += 1
    (split_folder / "nshards.txt").write_text(f"{shard_index}\n")
    return shard_index


def _write_metadata(dataset: ImageDataset, folder: Path, templates: Sequence[str]) -> None:
    texts = {
        CLASSES_FILE: dataset.classes,
        TEMPLATES_FILE: templates,
        TYPE_FILE: () if dataset.kind == "classification" else (dataset.kind,),
    }
    for name, rows in texts.items():
        if rows:
            (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _encode_sample(dataset: ImageDataset, i: int) -> Iterator[tuple[str, bytes]]:
    """Yield extension and content of each member of sample `i`."""
    stream = io.BytesIO()
    dataset.load_image(i).save(stream, "WEBP", lossless=True)
    yield "webp", stream.getvalue()
    if dataset.kind == "retrieval":
        yield "txt", "\n".join(" ".join(c.split()) for c in dataset.captions[i]).encode()
        return
    assert dataset.labels is not None
    if dataset.kind == "classification":
        yield "cls", str(dataset.labels[i]).encode()
        return
    yield "npy", _encode_array(dataset.labels[i])
    if dataset.difficult is not None:
        yield DIFFICULT_EXTENSION, _encode_array(dataset.difficult[i].astype("int64"))


def decode_array(content: bytes) -> NDArray[Any]:
    """Return the array of an `.npy` member, which is not unpickled."""
    import numpy as np

    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def _encode_array(values: NDArray[np.int64]) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
