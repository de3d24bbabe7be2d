"""The pictures of a user's CSV, part by part; decoded when they are asked for.

Parts are drawn by a hash of the path, so a picture that is added moves no other.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip.config import CsvData
from uniclip.data.csv.rows import first_line, read
from uniclip.data.split import Part, Split, part_of
from uniclip.errors import UserError
from uniclip.io.atomic import located
from uniclip.rng import sample_id

if TYPE_CHECKING:
    from PIL.Image import Image

KEPT_BYTES = 2**28
"""Decoded pictures are kept up to this much memory a process."""


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
                f"({first_line(error)}); repair it or remove the row"
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
    folder = located(str(Path(config.path).parent))
    return TableSplit(
        ids=np.array([sample_id(f"csv/{s.path}") for s in chosen], np.uint64),
        captions=tuple(tuple(s.captions) for s in chosen),
        labels={"label": labels} if config.label else {},
        classes={"label": classes} if config.label else {},
        training_label=labels if config.label else None,
        names=tuple(s.path for s in chosen),
        table=config.path,
        lines=tuple(s.line for s in chosen),
        paths=tuple(str(folder / s.path) for s in chosen),
        size=config.size,
    )
