"""WebDataset shards in clip-benchmark's layout, read and written with the standard library.

    <folder>/{classnames.txt, zeroshot_classification_templates.txt, dataset_type.txt}
    <folder>/<part>/{nshards.txt, 0.tar, 1.tar, ...}

A sample is a few members of one key: a picture, and its label (`.cls`, a number), its labels
(`.npy`, 0 or 1 for each class) or its captions (`.txt`, a line each). Ours adds `.difficult.npy`
where a class is to be left out, which others pass over.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets import custom
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset

IMAGE_EXTENSIONS = ("webp", "png", "jpg", "jpeg")
LABEL_EXTENSION = {"classification": "cls", "multilabel": "npy", "retrieval": "txt"}
DIFFICULT_EXTENSION = "difficult.npy"
MAX_SAMPLES_PER_SHARD, MAX_BYTES_PER_SHARD = 10_000, 10**9


@dataclass(frozen=True)
class ShardReader:
    """Pictures within shards: file, first byte and length of each."""

    locations: tuple[tuple[Path, int, int], ...]

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`."""
        path, start, length = self.locations[i]
        with open(path, "rb") as stream:
            stream.seek(start)
            buffer = io.BytesIO(stream.read(length))
        with Image.open(buffer) as image:
            return image.convert("RGB")


@dataclass
class ShardSample:
    """The members of one key."""

    shard: Path
    key: str
    location: tuple[Path, int, int] | None = None
    fields: dict[str, bytes] | None = None


def read(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """One part; samples in the order of the shards. Nothing is unpickled."""
    folder = root / Path(dataset.files[split][0]).parent
    num_shards = int((folder / "nshards.txt").read_text())
    samples = [s for i in range(num_shards) for s in _iterate_samples(folder / f"{i}.tar")]
    extension = LABEL_EXTENSION[dataset.kind]
    for s in samples:
        if s.location is None or extension not in (s.fields or {}):
            missing_member = "picture" if s.location is None else f".{extension}"
            raise UserError(
                f"{s.shard}: sample {s.key} has no {missing_member}; write the shards again"
            )
    if not samples:
        raise UserError(f"{folder} has shards without samples; write them again")
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(s.key for s in samples),
        reader=ShardReader(tuple(s.location for s in samples if s.location is not None)),
        **_decode_labels(dataset.kind, root, [s.fields or {} for s in samples]),
    )


def _iterate_samples(shard: Path) -> Iterator[ShardSample]:
    """The samples of a shard: members of one key stand together."""
    current: ShardSample | None = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                if current is None or key != current.key:
                    if current is not None:
                        yield current
                    current = ShardSample(shard, key, fields={})
                if extension.lower() in IMAGE_EXTENSIONS:
                    current.location = (shard, member.offset_data, member.size)
                elif current.fields is not None and (stream := archive.extractfile(member)):
                    current.fields[extension] = stream.read()
    except tarfile.TarError as error:
        raise UserError(f"{shard} is not a whole tar file ({error}); write it again") from None
    if current is not None:
        yield current


def _decode_labels(kind: str, root: Path, rows: list[dict[str, bytes]]) -> dict[str, Any]:
    """Labels and class names, or captions, from the fields of each sample."""
    if kind == "retrieval":
        return {"captions": tuple(tuple(r["txt"].decode().splitlines()) for r in rows)}
    classes_file = root / custom.CLASSES_FILE
    text = classes_file.read_text(encoding="utf-8") if classes_file.is_file() else ""
    class_names = [line.strip() for line in text.splitlines()]
    if kind == "multilabel":
        labels = np.stack([_decode_array(r["npy"]) for r in rows]).astype(np.int64)
        difficult = [
            _decode_array(r[DIFFICULT_EXTENSION])
            if DIFFICULT_EXTENSION in r
            else 0 * _decode_array(r["npy"])
            for r in rows
        ]
        n = labels.shape[1]
        truth: dict[str, Any] = {
            "labels": labels,
            "difficult": np.stack(difficult).astype(np.bool_),
        }
    else:
        labels = np.array([int(r["cls"]) for r in rows], np.int64)
        n = int(labels.max()) + 1
        truth = {"labels": labels}
    if labels.min() < 0 or (class_names and n > len(class_names)):
        raise UserError(
            f"{classes_file} has {len(class_names)} names but there are labels up to {n - 1}"
        )
    return {**truth, "classes": tuple(class_names) or tuple(map(str, range(n)))}


def _decode_array(content: bytes) -> NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def write_shards(
    dataset: ImageDataset,
    folder: Path,
    *,
    templates: Sequence[str] = (),
    max_samples: int = MAX_SAMPLES_PER_SHARD,
    max_bytes: int = MAX_BYTES_PER_SHARD,
) -> int:
    """Write a part as shards of at most so many samples and bytes; their number.

    templates: with "{c}" for the class name. Pictures are kept to the bit (lossless WebP). Raises
    `UserError` if the part has been written there.
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
        custom.CLASSES_FILE: dataset.classes,
        custom.TEMPLATES_FILE: templates,
        custom.TYPE_FILE: () if dataset.kind == "classification" else (dataset.kind,),
    }
    for name, rows in texts.items():
        if rows:
            (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _encode_sample(dataset: ImageDataset, i: int) -> Iterator[tuple[str, bytes]]:
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
        yield DIFFICULT_EXTENSION, _encode_array(dataset.difficult[i].astype(np.int64))


def _encode_array(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
