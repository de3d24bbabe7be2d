"""Image files that are rare among pictures, each made by a function."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def draw(mode: str, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return random pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def make_bomb() -> bytes:
    """Return a small PNG whose header states 400 million pixels."""
    content = bytearray(encode(draw("L"), "PNG"))
    content[16:24] = struct.pack(">II", 20_000, 20_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def rotate_by_exif() -> bytes:
    """Return a JPEG whose metadata say that a viewer turns it by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(draw("RGB"), "JPEG", exif=exif)


READABLE: dict[str, Callable[[], bytes]] = {
    "cmyk.jpg": lambda: encode(draw("CMYK"), "JPEG"),
    "16-bit.png": lambda: encode(Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG"),
    "16-bit-tiff.png": lambda: encode(
        Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "TIFF"
    ),
    "palette.png": lambda: encode(draw("P"), "PNG"),
    "transparent.png": lambda: encode(draw("P"), "PNG", transparency=3),
    "animated-gif.png": lambda: encode(
        draw("RGB"), "GIF", save_all=True, append_images=[draw("RGB").rotate(90)]
    ),
    "animated.webp": lambda: encode(
        draw("RGB"), "WEBP", save_all=True, append_images=[draw("RGB").rotate(90)]
    ),
    "rotated.jpg": rotate_by_exif,
    "pixel.png": lambda: encode(draw("RGB", (1, 1)), "PNG"),
    "column.png": lambda: encode(draw("RGB", (1, 3000)), "PNG"),
    "extreme.png": lambda: encode(draw("RGB", (3000, 1)), "PNG"),
}
UNREADABLE: dict[str, Callable[[], bytes]] = {
    "truncated.jpg": lambda: encode(draw("RGB"), "JPEG")[:-60],
    "text.jpg": lambda: b"<html>404</html>",
    "bomb.png": make_bomb,
}
