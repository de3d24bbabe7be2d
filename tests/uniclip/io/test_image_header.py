"""The shorter side of an image is read from as few bytes as say it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from uniclip.io.image_header import HEADER_BYTES, read_short_side


def encode(kind: str, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "most"),
    [
        (encode("JPEG", quality=95), HEADER_BYTES[0]),
        (encode("PNG"), HEADER_BYTES[0]),
        (encode("JPEG", quality=95, exif=b"Exif" + bytes(20_000)), HEADER_BYTES[1]),
        (encode("WEBP", quality=100), None),
    ],
)
def test_the_side_is_read_from_the_first_bytes(content, most):
    whole, reads = bytes(7) + content + b"more", []

    def read(start: int, size: int) -> bytes:
        reads.append(size)
        return whole[start : start + size]

    assert read_short_side(read, 7, len(content)) == 300
    assert max(reads) == (most or max(reads))
    assert max(reads) <= len(content)


def test_what_is_no_image_has_none():
    assert read_short_side(lambda start, size: b"x" * size, 0, 100_000) == 0
