"""Small CSV data sets."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniclip.config import CsvData


def write_csv(
    folder: Path,
    rows: Iterable[Sequence[str]],
    header: Sequence[str] = ("picture", "caption", "kind"),
) -> None:
    """Write data.csv into `folder`."""
    with open(folder / "data.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def write_varied_csv(folder: Path, num_images: int = 120, seed: int = 0) -> None:
    """Write data.csv: images with several captions and names, and a row that cannot be used."""
    generator = random.Random(seed)
    table = []
    for i in range(num_images):
        for k in range(generator.choice((1, 1, 2, 4))):
            path = generator.choice((f"{i}.png", f"{i}.png", f"./{i}.png", f"x/../{i}.png"))
            caption = generator.choice((f"picture {i}", f"sight {k}, \u00e9\u4f60", f"{i} {k}"))
            table.append((path, caption, "abc"[i % 3] if i % 5 else "", "a" if i % 7 else "b"))
    generator.shuffle(table)
    table.insert(30, ("", "lost", "a", "a"))
    write_csv(folder, table, ("picture", "caption", "kind", "half"))


def csv_config(folder: Path, **changes: Any) -> CsvData:
    """Return the data section of data.csv in `folder`."""
    values: dict[str, Any] = {
        "path": str(folder / "data.csv"),
        "image_size": 16,
        "label_column": "kind",
    }
    return CsvData(**{**values, **changes})


def write_image_set(folder: Path, num_images: int, size: tuple[int, int] = (20, 16)) -> Path:
    """Write images of random pixels, with captions of one to four words; return the CSV file."""
    generator = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    words = ("red", "small", "round", "old")
    rows = []
    for i in range(num_images):
        pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        rows.append((f"{i}.png", f"{' '.join(words[: i % 4 + 1])} {i}", "ab"[i % 2]))
    write_csv(folder, rows)
    return folder / "data.csv"


def break_images(paths: Iterable[str | Path]) -> None:
    """Cut image files off after 60 bytes."""
    for path in map(Path, paths):
        path.write_bytes(path.read_bytes()[:60])
