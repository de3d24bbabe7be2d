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

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets import custom
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Pictures

PICTURES = ("webp", "png", "jpg", "jpeg")
TRUTH = {"classification": "cls", "multilabel": "npy", "retrieval": "txt"}
DIFFICULT = "difficult.npy"
MOST_SAMPLES, MOST_BYTES = 10_000, 10**9


@dataclass(frozen=True)
class Members:
    """Pictures within shards: file, first byte and length of each."""

    places: tuple[tuple[Path, int, int], ...]

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`."""
        path, start, length = self.places[i]
        with open(path, "rb") as stream:
            stream.seek(start)
            packed = io.BytesIO(stream.read(length))
        with Image.open(packed) as image:
            return image.convert("RGB")


@dataclass
class Sample:
    """The members of one key."""

    shard: Path
    key: str
    place: tuple[Path, int, int] | None = None
    fields: dict[str, bytes] | None = None


def read(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """One part; samples in the order of the shards. Nothing is unpickled."""
    folder = root / Path(dataset.files[part][0]).parent
    number = int((folder / "nshards.txt").read_text())
    found = [s for i in range(number) for s in _samples(folder / f"{i}.tar")]
    extension = TRUTH[dataset.kind]
    for s in found:
        if s.place is None or extension not in (s.fields or {}):
            lacks = "picture" if s.place is None else f".{extension}"
            raise UserError(f"{s.shard}: sample {s.key} has no {lacks}; write the shards again")
    if not found:
        raise UserError(f"{folder} has shards without samples; write them again")
    return Pictures(
        name=dataset.name,
        part=part,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(s.key for s in found),
        read=Members(tuple(s.place for s in found if s.place is not None)),
        **_truth(dataset.kind, root, [s.fields or {} for s in found]),
    )


def _samples(shard: Path) -> Iterator[Sample]:
    """The samples of a shard: members of one key stand together."""
    current: Sample | None = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                key, _, extension = member.name.rpartition("/")[2].partition(".")
                if current is None or key != current.key:
                    if current is not None:
                        yield current
                    current = Sample(shard, key, fields={})
                if extension.lower() in PICTURES:
                    current.place = (shard, member.offset_data, member.size)
                elif current.fields is not None and (stream := archive.extractfile(member)):
                    current.fields[extension] = stream.read()
    except tarfile.TarError as error:
        raise UserError(f"{shard} is not a whole tar file ({error}); write it again") from None
    if current is not None:
        yield current


def _truth(kind: str, root: Path, rows: list[dict[str, bytes]]) -> dict[str, Any]:
    """Labels and class names, or captions, from the fields of each sample."""
    if kind == "retrieval":
        return {"captions": tuple(tuple(r["txt"].decode().splitlines()) for r in rows)}
    names = root / custom.CLASSES
    text = names.read_text(encoding="utf-8") if names.is_file() else ""
    listed = [line.strip() for line in text.splitlines()]
    if kind == "multilabel":
        labels = np.stack([_array(r["npy"]) for r in rows]).astype(np.int64)
        hard = [_array(r[DIFFICULT]) if DIFFICULT in r else 0 * _array(r["npy"]) for r in rows]
        n = labels.shape[1]
        truth: dict[str, Any] = {"labels": labels, "difficult": np.stack(hard).astype(np.bool_)}
    else:
        labels = np.array([int(r["cls"]) for r in rows], np.int64)
        n = int(labels.max()) + 1
        truth = {"labels": labels}
    if labels.min() < 0 or (listed and n > len(listed)):
        raise UserError(f"{names} has {len(listed)} names but there are labels up to {n - 1}")
    return {**truth, "classes": tuple(listed) or tuple(map(str, range(n)))}


def _array(packed: bytes) -> NDArray[Any]:
    return np.asarray(np.load(io.BytesIO(packed), allow_pickle=False))


def write(
    pictures: Pictures,
    folder: Path,
    *,
    templates: Sequence[str] = (),
    samples: int = MOST_SAMPLES,
    size: int = MOST_BYTES,
) -> int:
    """Write a part as shards of at most so many samples and bytes; their number.

    templates: with "{c}" for the class name. Pictures are kept to the bit (lossless WebP). Raises
    `UserError` if the part has been written there.
    """
    place = folder / pictures.part
    if (place / "nshards.txt").exists():
        raise UserError(f"{place} holds shards already; name another folder")
    place.mkdir(parents=True, exist_ok=True)
    _describe(pictures, folder, templates)
    number, i = 0, 0
    while i < len(pictures):
        first = i
        with tarfile.open(place / f"{number}.tar", "w") as archive:
            while i < len(pictures) and i - first < samples and archive.offset < size:
                for extension, packed in _members(pictures, i):
                    member = tarfile.TarInfo(f"s{i:07d}.{extension}")
                    member.size = len(packed)
                    archive.addfile(member, io.BytesIO(packed))
                i += 1
        number += 1
    (place / "nshards.txt").write_text(f"{number}\n")
    return number


def _describe(pictures: Pictures, folder: Path, templates: Sequence[str]) -> None:
    texts = {
        custom.CLASSES: pictures.classes,
        custom.TEMPLATES: templates,
        custom.TYPE: () if pictures.kind == "classification" else (pictures.kind,),
    }
    for name, rows in texts.items():
        if rows:
            (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _members(pictures: Pictures, i: int) -> Iterator[tuple[str, bytes]]:
    stream = io.BytesIO()
    pictures.picture(i).save(stream, "WEBP", lossless=True)
    yield "webp", stream.getvalue()
    if pictures.kind == "retrieval":
        yield "txt", "\n".join(" ".join(c.split()) for c in pictures.captions[i]).encode()
        return
    assert pictures.labels is not None
    if pictures.kind == "classification":
        yield "cls", str(pictures.labels[i]).encode()
        return
    yield "npy", _packed(pictures.labels[i])
    if pictures.difficult is not None:
        yield DIFFICULT, _packed(pictures.difficult[i].astype(np.int64))


def _packed(values: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()
