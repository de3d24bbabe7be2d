"""Decoding the images of a user's table before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import CsvData
from uniclip.io import image_check
from uniclip.io.hashing import digest
from uniclip.io.image_check import ImageFindings, ImageLocation, ReportProgress

if TYPE_CHECKING:
    from uniclip.data.csv.split import CsvSplit

NUM_TRAINING_IMAGES = 200
"""Training images that are decoded: the first ones by the hash of their paths."""
MEMORY_FOLDER = "checked_images"
"""Folder inside the store's cache."""


def verify_held_out_images(
    config: CsvData,
    cache_folder: Path | None = None,
    report_progress: ReportProgress = lambda done, total: None,
) -> ImageFindings:
    """Decode every validation and test image; none of them may be unreadable.

    Args:
        config: The data section.
        cache_folder: The store's cache, in which good images are remembered.
        report_progress: Called every few seconds with the number of images done, and of all.

    Raises:
        UserError: The table cannot be used.
    """
    from uniclip.data.csv.split import open_split  # imports numpy: see `uniclip.data`

    splits = [open_split(config, "validation"), open_split(config, "test")]
    locations = [location for s in splits for location in _locate(s, range(len(s)))]
    memory_path = _name_memory(config, cache_folder, "held out")
    return image_check.check_images(locations, config.image_size, memory_path, report_progress)


def verify_training_sample(config: CsvData, cache_folder: Path | None = None) -> ImageFindings:
    """Decode a sample of the training images; training replaces those that cannot be read.

    The arguments are those of `verify_held_out_images`.

    Raises:
        UserError: The table cannot be used, or more images of the sample cannot be read than may
            be replaced.
    """
    from uniclip.data.csv.split import open_split  # imports numpy: see `uniclip.data`

    split = open_split(config, "train")
    order = split.ids.argsort(kind="stable")[:NUM_TRAINING_IMAGES].tolist()
    locations = _locate(split, order)
    memory_path = _name_memory(config, cache_folder, "train")
    findings = image_check.check_images(locations, config.image_size, memory_path)
    split.check_unreadable(sorted(order[position] for position in findings.unreadable_positions))
    return findings


def _locate(split: CsvSplit, index: Sequence[int]) -> list[ImageLocation]:
    return [ImageLocation(split.name_image(i), split.image_paths[i]) for i in index]


def _name_memory(config: CsvData, cache_folder: Path | None, part: str) -> Path | None:
    if cache_folder is None:
        return None
    paths = [str(Path(path).absolute()) for path in (config.path, config.test_path) if path]
    return cache_folder / MEMORY_FOLDER / digest([*paths, config.image_size, part])
