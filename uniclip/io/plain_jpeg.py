"""Decoding of plain JPEGs by torchvision, which takes a third less time than Pillow.

Both use libjpeg-turbo and give the same pixels; a process uses torchvision only after it has
compared them. A JPEG is plain if it has no metadata from which `uniclip.io.rgb_image` would do more
than decode it. All others, and damaged ones, are left to that module.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

UInt8 = NDArray[np.uint8]

START_OF_IMAGE, START_OF_SCAN = b"\xff\xd8", 0xDA
FRAME_MARKERS = (0xC0, 0xC1, 0xC2)
"""Start of a baseline, an extended and a progressive frame."""
IGNORED_MARKERS = (0xC4, 0xDB, 0xDD, 0xE0, 0xFE)
"""Tables, the restart interval, JFIF, comments."""
PROFILE_MARKER, PROFILE_NAME = 0xE2, b"ICC_PROFILE\0"
"""A color profile, which Pillow's conversion to RGB does not apply."""


def decode_plain_jpeg(content: BytesIO, max_short_side: int) -> UInt8 | None:
    """Return the pixels (H, W, 3) of a plain JPEG, contiguous and writable.

    None if it is not plain, damaged, has a shorter side than this or longer, in pixels, or if
    torchvision decodes otherwise than Pillow on this machine.
    """
    shape = _read_plain_shape(content.getbuffer())
    if shape is None or min(shape) > max_short_side or not _equals_pillow():
        return None
    return _decode(content)


def _decode(content: BytesIO) -> UInt8 | None:
    """Return the pixels that torchvision decodes; None for a damaged file."""
    import torch
    from torchvision.io import decode_jpeg

    try:
        image = decode_jpeg(torch.frombuffer(content.getbuffer(), dtype=torch.uint8))
    except RuntimeError:
        return None
    pixels: UInt8 = image.permute(1, 2, 0).contiguous().numpy()
    return pixels if pixels.shape[2] == 3 else None


@cache
def _equals_pillow() -> bool:
    """Return whether torchvision can be used here and gives the pixels of Pillow."""
    levels = (np.arange(9 * 12 * 3) * 97 % 256).astype(np.uint8)
    colors = Image.fromarray(levels.reshape(9, 12, 3)).resize((85, 61))
    for quality, subsampling in ((90, 2), (75, 1), (60, 0)):
        stream = BytesIO()
        colors.save(stream, "JPEG", quality=quality, subsampling=subsampling)
        try:
            pixels = _decode(stream)
        except (ImportError, RuntimeError, AttributeError):
            return False
        if pixels is None or not np.array_equal(pixels, np.asarray(Image.open(stream))):
            return False
    return True


def _read_plain_shape(content: memoryview) -> tuple[int, int] | None:
    """Return height and width of a plain JPEG of three channels of 8 bits, else None."""
    if content[:2] != START_OF_IMAGE:
        return None
    shape, position = None, 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == START_OF_SCAN:
            return shape
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + length]
        if marker in FRAME_MARKERS and len(segment) >= 6 and shape is None:
            if segment[0] != 8 or segment[5] != 3:
                return None
            shape = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
        elif marker == PROFILE_MARKER:
            if segment[: len(PROFILE_NAME)] != PROFILE_NAME:
                return None
        elif marker not in IGNORED_MARKERS:
            return None
        position += 2 + length
    return None
