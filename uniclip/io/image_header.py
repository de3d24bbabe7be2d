"""The size of an image from its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from uniclip.io.rgb_image import silence_pillow_warnings

HEADER_BYTES = (2**12, 2**16)
"""Bytes that are read first, and if they do not say the size; then the whole file is."""


def read_short_side(read: Callable[[int, int], bytes], start: int, size: int) -> int:
    """Return the shorter side of an image, in pixels; 0 if its header cannot be read.

    Args:
        read: Returns bytes of a file, from a position.
        start: Position of the image in the file.
        size: Bytes of the image.
    """
    from PIL import Image

    for num_bytes in (*(n for n in HEADER_BYTES if n < size), size):
        content = BytesIO(read(start, num_bytes))
        try:
            with silence_pillow_warnings(), Image.open(content) as image:
                return min(image.size)
        except Exception:  # Pillow raises errors of any kind; training names the image
            continue
    return 0
