"""Plain JPEGs are decoded by torchvision, with the pixels of Pillow; all others are left to it."""

from __future__ import annotations

import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip.data import image_files
from uniclip.io import plain_jpeg, rgb_image
from uniclip.io.plain_jpeg import decode_plain_jpeg

LARGE = 10**4


def encode(pixels, **options):
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream


def read_by_pillow(content):
    return np.array(rgb_image.read_source_image(BytesIO(content.getvalue()), LARGE))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("shape", [(60, 90), (375, 500), (17, 33), (23, 400)])
def test_pixels_are_those_of_pillow(shape, subsampling, progressive):
    pixels = draw_photograph(*shape)
    for quality in (30, 75, 95):
        options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
        content = encode(pixels, **options)
        decoded = decode_plain_jpeg(content, LARGE)
        assert decoded is not None
        assert decoded.flags.c_contiguous
        assert decoded.flags.writeable
        assert np.array_equal(decoded, read_by_pillow(content))


def test_damaged_files_have_the_pixels_or_the_error_of_pillow():
    base, drawn = encode(draw_photograph(60, 90)).getvalue(), random.Random(0)
    num_decoded = 0
    for trial in range(200):
        content = bytearray(base)
        if trial % 3 == 0:
            content = content[: drawn.randrange(len(content))]
        else:
            for _ in range(3):
                content[drawn.randrange(2, len(content))] = drawn.randrange(256)
        decoded = decode_plain_jpeg(BytesIO(bytes(content)), LARGE)
        if decoded is not None:
            num_decoded += 1
            assert np.array_equal(decoded, read_by_pillow(BytesIO(bytes(content))))
    assert 20 < num_decoded < 180


def make_others():
    """Return JPEGs from which more is read than pixels, or of other modes; and another format."""
    pixels = draw_photograph(30, 40)
    exif = Image.Exif()
    exif[rgb_image.ORIENTATION_TAG] = 6
    cmyk, grey, png = BytesIO(), BytesIO(), BytesIO()
    Image.fromarray(pixels).convert("CMYK").save(cmyk, "JPEG")
    Image.fromarray(pixels).convert("L").save(grey, "JPEG")
    Image.fromarray(pixels).save(png, "PNG")
    return {
        "exif": encode(pixels, exif=exif),
        "xmp": encode(pixels, xmp=b"<x:xmpmeta/>"),
        "cmyk": cmyk,
        "grey": grey,
        "png": png,
        "empty": BytesIO(),
    }


@pytest.mark.parametrize("name", make_others())
def test_other_files_are_left_to_pillow(name):
    assert decode_plain_jpeg(make_others()[name], LARGE) is None


def test_a_color_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = encode(draw_photograph(30, 40), icc_profile=profile, comment=b"a comment")
    decoded = decode_plain_jpeg(content, LARGE)
    assert decoded is not None
    assert np.array_equal(decoded, read_by_pillow(content))


def test_larger_images_are_left_to_pillow():
    content = encode(draw_photograph(30, 40))
    assert decode_plain_jpeg(content, 29) is None
    assert decode_plain_jpeg(content, 30) is not None


@pytest.mark.parametrize("shape", [(63, 200), (64, 70), (65, 64), (127, 129), (30, 40)])
def test_photographs_are_those_of_pillow(shape, tmp_path, monkeypatch):
    """Of a file and of its content; also where a JPEG is decoded at a fraction of its size."""
    path = tmp_path / "a.jpg"
    path.write_bytes(encode(draw_photograph(*shape)).getvalue())
    read = [image_files.read_photograph(f, 16) for f in (path, BytesIO(path.read_bytes()))]
    monkeypatch.setattr(image_files, "decode_plain_jpeg", lambda *args, **kwargs: None)
    expected = image_files.read_photograph(path, 16)
    for photograph in read:
        assert np.array_equal(photograph.pixels, expected.pixels)
        assert np.array_equal(photograph.get_square(), expected.get_square())


@pytest.mark.parametrize("fails", [False, True])
def test_a_decoder_with_other_pixels_is_not_used(fails, monkeypatch):
    def decode_otherwise(content):
        if fails:
            raise ImportError("torchvision")
        return np.zeros((61, 85, 3), np.uint8)

    content = encode(draw_photograph(30, 40))
    monkeypatch.setattr(plain_jpeg, "_decode", decode_otherwise)
    plain_jpeg._equals_pillow.cache_clear()
    try:
        assert decode_plain_jpeg(content, LARGE) is None
    finally:
        plain_jpeg._equals_pillow.cache_clear()
