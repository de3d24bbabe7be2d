"""Small WebDataset shards, as img2dataset writes them, and the same samples as a CSV."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniclip.config import WebdatasetData

WORDS = ("red", "small", "round", "old")


def encode_image(number: int, size: tuple[int, int] = (20, 16), kind: str = "PNG") -> bytes:
    """Return an image of random pixels, the same for a number, as a file of this format."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def make_sample(number: int, **fields: Any) -> dict[str, bytes]:
    """Return the members of a sample, in the order of img2dataset: image, json, txt."""
    caption = f"{' '.join(WORDS[: number % 4 + 1])} {number}"
    key = f"{number:09d}"
    metadata = {"caption": caption, "key": key, "width": 20, "height": 16, **fields}
    return {
        f"{key}.png": encode_image(number),
        f"{key}.json": json.dumps(metadata).encode(),
        f"{key}.txt": caption.encode(),
    }


def write_tar(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """Write a tar file with these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    items = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(path, "w") as archive:
        for name, content in items:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder: Path, num_samples: int, num_shards: int) -> str:
    """Write shards 00000.tar, ... of so many samples together; return the brace range."""
    for shard in range(num_shards):
        numbers = range(num_samples * shard // num_shards, num_samples * (shard + 1) // num_shards)
        members = [item for n in numbers for item in make_sample(n).items()]
        write_tar(folder / f"{shard:05d}.tar", members)
    return f"{folder}/{{00000..{num_shards - 1:05d}}}.tar"


def write_labelled_shards(folder: Path, num_samples: int = 60) -> str:
    """Write two shards of images of three classes, stated by numbers."""
    for shard in range(2):
        members = []
        for n in range(shard, num_samples, 2):
            key = f"{n:06d}"
            members += [(f"{key}.png", encode_image(1000 + n)), (f"{key}.cls", f"{n % 3}".encode())]
        write_tar(folder / f"{shard}.tar", members)
    return str(folder)


def write_class_folders(folder: Path) -> str:
    """Write a folder of five images of two classes, in folders of folders too."""
    for n, name in enumerate(
        ("n01/a.png", "n01/b.PNG", "n01/more/c.png", "n02/a.png", "n02/d.png")
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(2000 + n))
    (folder / "n02" / "notes.txt").write_text("no image")
    return str(folder)


def unpack_to_csv(folder: Path, shards: Iterable[Path]) -> Path:
    """Write the images of shards as files, and a CSV with their captions; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for shard in shards:
        with tarfile.open(shard) as archive:
            contents = {m.name: archive.extractfile(m).read() for m in archive}
        for name in (n for n in contents if n.endswith(".png")):
            (folder / name).write_bytes(contents[name])
            rows.append((name, contents[name.replace(".png", ".txt")].decode()))
    with open(folder / "data.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([("picture", "caption"), *rows])
    return folder / "data.csv"


def shards_config(path: str | Path, **changes: Any) -> WebdatasetData:
    """Return a data section of shards; a tenth is held out for validation and testing each."""
    values = {"path": str(path), "image_size": 16}
    fractions = {"validation_fraction": 0.1, "test_fraction": 0.1}
    return WebdatasetData(**{**values, **fractions, **changes})
