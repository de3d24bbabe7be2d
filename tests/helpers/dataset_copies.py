"""Small copies of data sets in the layout that CLIP_benchmark's `webdataset_builder.py` writes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.helpers.datacomp_trees import add_member, encode_image

TEMPLATES = ("a photo of {c}.", "{c} on white.")
CAPTIONS = (("a dog", "two dogs"), ("one cat",), ("a cat \\n and a dog", "one cat"))
"""Captions of each image of a retrieval set; "\\n" stands for a line feed."""


def write_split(
    folder: Path, split: str, members: Sequence[dict[str, bytes]], per_shard: int = 4
) -> None:
    """Write the shards of a split; members: file extension -> content of each sample."""
    (folder / split).mkdir(parents=True)
    num_shards = -(-len(members) // per_shard)
    (folder / split / "nshards.txt").write_text(f"{num_shards}\n")
    for shard in range(num_shards):
        with tarfile.open(folder / split / f"{shard}.tar", "w") as archive:
            for i in range(shard * per_shard, min((shard + 1) * per_shard, len(members))):
                for extension, content in members[i].items():
                    add_member(archive, f"s{i:07d}.{extension}", content)


def write_class_names(folder: Path, class_names: Sequence[str]) -> None:
    """Write the class names and the templates of a copy."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in class_names))
    templates = folder / "zeroshot_classification_templates.txt"
    templates.write_text("".join(f"{template}\n" for template in TEMPLATES))


def write_classification(folder: Path, class_names: Sequence[str], **labels: Sequence[int]) -> None:
    """Write a copy with one label an image; labels: those of each split."""
    write_class_names(folder, class_names)
    for split, split_labels in labels.items():
        samples = [
            {"webp": encode_image(label % 27), "cls": str(label).encode()} for label in split_labels
        ]
        write_split(folder, split, samples)


def write_multilabel(folder: Path, class_names: Sequence[str], rows: Sequence[list[int]]) -> None:
    """Write a copy with several labels an image: 0 or 1 for each class."""
    write_class_names(folder, class_names)
    (folder / "dataset_type.txt").write_text("multilabel\n")
    samples = []
    for i, row in enumerate(rows):
        stream = io.BytesIO()
        np.save(stream, np.array(row, np.float32))
        samples.append({"webp": encode_image(i), "npy": stream.getvalue()})
    write_split(folder, "test", samples)


def write_retrieval(folder: Path, captions: Sequence[Sequence[str]] = CAPTIONS) -> None:
    """Write a copy with captions."""
    folder.mkdir(parents=True)
    (folder / "dataset_type.txt").write_text("retrieval\n")
    samples = [
        {"webp": encode_image(i), "txt": "\n".join(rows).encode()}
        for i, rows in enumerate(captions)
    ]
    write_split(folder, "test", samples)
