"""Small valid trees of DataComp's copies of evaluation sets."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.dataset_trees import colour


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def encode_image(label: int) -> bytes:
    """Return an image of one colour as WebP."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 12), colour(label)).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def encode_row(row: Sequence[int]) -> bytes:
    """Return a row of metadata as .npy."""
    stream = io.BytesIO()
    np.save(stream, np.array(row, np.int64))
    return stream.getvalue()


def write_copy(
    folder: Path,
    class_names: Sequence[str],
    labels: Sequence[int],
    metadata: Sequence[Sequence[int]] | None = None,
    per_shard: int = 4,
) -> None:
    """Write a copy: samples of these labels, each with its row of metadata."""
    (folder / "test").mkdir(parents=True)
    (folder / "classnames.txt").write_text("\n".join(class_names))
    templates = folder / "zeroshot_classification_templates.txt"
    templates.write_text("a photo of {c}.\nan image of {c}.\n")
    num_shards = -(-len(labels) // per_shard)
    (folder / "test/nshards.txt").write_text(str(num_shards))
    for shard in range(num_shards):
        with tarfile.open(folder / f"test/{shard}.tar", "w") as archive:
            for i in range(shard * per_shard, min((shard + 1) * per_shard, len(labels))):
                add_member(archive, f"s{i:07d}.cls", str(labels[i]).encode())
                if metadata is not None:
                    add_member(archive, f"s{i:07d}.npy", encode_row(metadata[i]))
                add_member(archive, f"s{i:07d}.webp", encode_image(labels[i]))
