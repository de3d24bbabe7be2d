"""How large a user's images are, from the headers of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uniclip.config import CsvData
from uniclip.data.csv.content import digest_table
from uniclip.data.csv.index import TableIndex
from uniclip.io.hashing import digest
from uniclip.io.memo import disk_memoize
from uniclip.io.rgb_image import silence_pillow_warnings

NUM_HEADERS = 64
"""Images whose headers are read."""


def describe_small_images(config: CsvData, index: TableIndex, input_size: int) -> list[str]:
    """Return a sentence if images are smaller than the input of the image encoder.

    Args:
        config: The data section.
        index: The samples of its tables.
        input_size: Side of the encoder's input, in pixels.
    """
    paths, are_all = index.choose_evenly(NUM_HEADERS)
    sides = _read_short_sides(config, list(map(Path, paths)))
    return describe_short_sides(sides, are_all, input_size)


def describe_short_sides(sides: Sequence[int], are_all: bool, input_size: int) -> list[str]:
    """Return a sentence if some of these images are smaller than the encoder's input.

    Args:
        sides: The shorter side of each image that was looked at, in pixels; 0 = unreadable.
        are_all: Whether these are all images of the data.
        input_size: Side of the encoder's input, in pixels.
    """
    short_sides = [side for side in sides if side]
    num_small = sum(side < input_size for side in short_sides)
    if not num_small:
        return []
    median_side = sorted(short_sides)[len(short_sides) // 2]
    is_whole = are_all and len(short_sides) == len(sides)
    scope = "" if is_whole else f"of {len(short_sides)} images looked at, "
    return [
        f"{scope}{num_small} are smaller than the {input_size} px of model.image.image_size and "
        f"are enlarged (median of the shorter side: {median_side} px)"
    ]


def _read_short_sides(config: CsvData, paths: list[Path]) -> list[int]:
    """Return the shorter side of each image, in pixels; 0 for one that is unreadable."""
    key = digest([digest_table(config.path), config.test_path, [str(p.absolute()) for p in paths]])
    sides = disk_memoize("image-sizes", key, lambda: [_read_short_side(path) for path in paths])
    return [int(side) for side in sides]


def _read_short_side(path: Path) -> int:
    from PIL import Image

    try:
        with silence_pillow_warnings(), Image.open(path) as image:
            return min(image.size)
    except Exception:  # Pillow raises errors of any kind; training names the image
        return 0
