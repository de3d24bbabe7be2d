"""The user's own pictures: a CSV with a picture's path, a caption and, if there is one, a label.

Several rows with one path are one sample with several captions. Parts are drawn by a hash of the
path, so a picture that is added moves no other. Pictures are decoded when they are asked for.
"""

from __future__ import annotations

import csv
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import CsvData
from uniclip.data.split import Part, Split, part_of
from uniclip.errors import UserError, unknown
from uniclip.rng import sample_id

if TYPE_CHECKING:
    from PIL.Image import Image

SPLIT_RULE = "csv/1: hash of the path"
KEPT_BYTES = 2**28
"""Decoded pictures are kept up to this much memory a process."""


@dataclass
class Sample:
    """One picture and what its rows say."""

    line: int
    """Of its first row in the file."""
    path: str
    captions: list[str] = field(default_factory=list)
    label: str | None = None
    bytes: int = 0
    """Size of the picture's file."""


@dataclass(frozen=True, kw_only=True)
class TableSplit(Split):
    """Pictures read from files."""

    table: str
    """The CSV file, for messages."""
    lines: tuple[int, ...]
    paths: tuple[str, ...]
    size: int
    kept: OrderedDict[int, NDArray[np.uint8]] = field(default_factory=OrderedDict, compare=False)

    def pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(index) == 0:
            return np.zeros((0, 3, self.size, self.size), np.uint8)
        return np.stack([self._canvas(int(i)) for i in index])

    def _canvas(self, i: int) -> NDArray[np.uint8]:
        if i in self.kept:
            self.kept.move_to_end(i)
            return self.kept[i]
        try:
            picture = decode(Path(self.paths[i]), self.size)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(
                f"{self.table} line {self.lines[i]}: picture {self.paths[i]} cannot be read "
                f"({_first_line(error)}); repair it or remove the row"
            ) from None
        self.kept[i] = picture
        if len(self.kept) * picture.nbytes > KEPT_BYTES:
            self.kept.popitem(last=False)
        return picture


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """The picture in a file as a canvas; raises what Pillow raises (OSError and others)."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded at a fraction of its size
            return canvas(image, size)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def canvas(image: Image, size: int) -> NDArray[np.uint8]:
    """(3, size, size) uint8: RGB, the central square, resized (bicubic, antialiased).

    What is transparent shows white.
    """
    from PIL import Image as pillow

    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", layer.size, "white"), layer)
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    resized = square.resize((size, size), pillow.Resampling.BICUBIC)
    return np.asarray(resized).transpose(2, 0, 1).copy()


def fingerprint(config: CsvData) -> dict[str, Any]:
    """The index file's size and sum, the columns, and names and sizes of the pictures."""
    path = Path(config.path)
    listed = blake2b()
    for sample in sorted(read(config), key=lambda s: s.path):
        listed.update(f"{sample.path}\0{sample.bytes}\n".encode())
    return {
        "source": "csv",
        "split": SPLIT_RULE,
        "index": {"bytes": path.stat().st_size, "sum": _sum(path)},
        "columns": [config.picture, config.caption, config.label],
        "pictures": listed.hexdigest()[:32],
        "size": config.size,
    }


def missing(config: CsvData) -> str | None:
    """What to do when there is no such file."""
    if not config.path:
        return "name your CSV file with data.path=<file>"
    if not Path(config.path).is_file():
        return f"there is no file {config.path}; name your CSV file with data.path=<file>"
    return None


def open_split(config: CsvData, part: Part) -> TableSplit:
    """One part; raises `UserError` for the first row that can't be used."""
    samples = read(config)
    classes = tuple(sorted({s.label for s in samples if s.label}))
    chosen = [
        s
        for s in samples
        if part_of(f"csv/{s.path}", validation=config.validation, test=config.test) == part
    ]
    numbers = {name: i for i, name in enumerate(classes)}
    labels = np.array([numbers[s.label] if s.label else -1 for s in chosen], np.int64)
    folder = Path(config.path).parent
    return TableSplit(
        ids=np.array([sample_id(f"csv/{s.path}") for s in chosen], np.uint64),
        captions=tuple(tuple(s.captions) for s in chosen),
        labels={"label": labels} if config.label else {},
        classes={"label": classes} if config.label else {},
        names=tuple(s.path for s in chosen),
        table=config.path,
        lines=tuple(s.line for s in chosen),
        paths=tuple(str(folder / s.path) for s in chosen),
        size=config.size,
    )


def read(config: CsvData) -> list[Sample]:
    """The samples in the order of the file; `UserError` names file, line and column."""
    folder = Path(config.path).parent
    samples: dict[str, Sample] = {}
    for line, row in _rows(config):
        path, text = row[config.picture], row[config.caption]
        label = row[config.label] if config.label else None
        if path not in samples:
            samples[path] = Sample(line, path, label=label or None)
            samples[path].bytes = _stat(config, line, folder / path)
        sample = samples[path]
        if (label or None) != sample.label:
            raise UserError(
                f"{config.path} line {line}, column {config.label!r}: {path} is {label!r} here "
                f"but {sample.label!r} on line {sample.line}; give a picture one label"
            )
        if text not in sample.captions:
            sample.captions.append(text)
    if not samples:
        raise UserError(f"{config.path} has no rows; add at least one picture and caption")
    return list(samples.values())


def _rows(config: CsvData) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped fields of each row, columns checked."""
    columns = [c for c in (config.picture, config.caption, config.label) if c is not None]
    reader = None
    try:
        with open(config.path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_columns(config, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, _fields(config, reader.line_num, row, columns)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        line = f" line {reader.line_num + 1}" if reader is not None else ""
        raise UserError(
            f"{config.path}{line} cannot be read as CSV in UTF-8 ({_first_line(error)})"
        ) from None


def _fields(config: CsvData, line: int, row: dict[Any, Any], columns: list[str]) -> dict[str, str]:
    """The row's text by column (csv files surplus fields under None, absent ones as None)."""
    if None in row or None in row.values():
        found = len([v for k, v in row.items() if k is not None and v is not None])
        raise UserError(
            f"{config.path} line {line}: {found + len(row.get(None, ()))} fields where the header "
            "has another number; put texts with commas in double quotes"
        )
    fields = {c: str(row[c]).strip() for c in columns}
    for column in (config.picture, config.caption):
        if not fields[column]:
            raise UserError(
                f"{config.path} line {line}, column {column!r} is empty; fill it or remove the row"
            )
    return fields


def _check_columns(config: CsvData, found: list[str]) -> None:
    for key in ("picture", "caption", "label"):
        column = getattr(config, key)
        if column is not None and column not in found:
            hint = str(unknown(f"column (data.{key})", column, found)) if found else "it is empty"
            raise UserError(f"{config.path} line 1: {hint}")


def _stat(config: CsvData, line: int, path: Path) -> int:
    try:
        if path.is_file():
            return os.stat(path).st_size
    except (OSError, ValueError):
        pass  # a name that no file can have is a missing file too
    raise UserError(
        f"{config.path} line {line}, column {config.picture!r}: there is no picture {path}; "
        f"paths are relative to the CSV's folder"
    )


def _sum(path: Path) -> str:
    return blake2b(path.read_bytes()).hexdigest()[:32]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
