"""One rule from a user's image to 8-bit RGB pixels, for every mode and every broken file."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from uniclip.errors import UserError
from uniclip.io import rgb_image
from uniclip.io.rgb_image import UnreadableImageError, read_rgb_image, read_square, to_rgb_image

RAMP = np.linspace(0, 65535, 80).round().astype(np.uint16)[None].repeat(60, 0)
GREY_RAMP = (RAMP >> 8).astype(np.uint8)


def read(path):
    return np.asarray(read_rgb_image(path)).astype(int)


def encode_png(rows, size, bit_depth, color_type, transparency=b"", palette=b""):
    """Return the bytes of a PNG of a kind that Pillow does not write."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", *size, bit_depth, color_type, 0, 0, 0)
    optional = [chunk(k, b) for k, b in ((b"PLTE", palette), (b"tRNS", transparency)) if b]
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *optional, chunk(b"IDAT", pixels)]
        + [chunk(b"IEND", b"")]
    )


WIDE_MODES = {
    "16-bit.png": Image.fromarray(RAMP),
    "16-bit.tif": Image.fromarray(RAMP),
    "16-bit.pgm": Image.fromarray(RAMP.astype(np.int32)),
    "16-bit in I.tif": Image.fromarray(RAMP.astype(np.int32)),
    "8-bit in I.tif": Image.fromarray(GREY_RAMP.astype(np.int32)),
    "31-bit.tif": Image.fromarray(RAMP.astype(np.int32) << 15),
    "unit floats.tif": Image.fromarray((RAMP / 65535).astype(np.float32)),
    "floats with overshoot.tif": Image.fromarray((RAMP / 65535 * 1.02 - 0.01).astype(np.float32)),
    "floats of 8 bits.tif": Image.fromarray(GREY_RAMP.astype(np.float32)),
    "floats of 16 bits.tif": Image.fromarray(RAMP.astype(np.float32)),
    "16-bit.jp2": Image.fromarray(RAMP),
}


@pytest.mark.parametrize("name", WIDE_MODES)
def test_values_of_more_than_8_bits_are_scaled_by_the_range_of_the_mode(name, tmp_path):
    WIDE_MODES[name].save(tmp_path / name)
    pixels = read(tmp_path / name)
    assert pixels.shape == (60, 80, 3)
    assert np.abs(pixels - GREY_RAMP[..., None]).max() <= 3
    assert pixels.mean() == pytest.approx(127.5, abs=1)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_16_bits_have_one_scale_in_every_byte_order(mode):
    image = Image.new(mode, (2, 1))
    image.putpixel((0, 0), 0x8001)
    image.putpixel((1, 0), 0xFFFF)
    assert np.asarray(to_rgb_image(image))[0].tolist() == [[128] * 3, [255] * 3]


def test_unsigned_32_bits_and_12_bits_of_a_tiff_have_their_ranges(tmp_path):
    image = Image.fromarray((RAMP.astype(np.uint32) << 16).view(np.int32))
    image.save(tmp_path / "unsigned.tif")  # Pillow calls the values signed: the tag is set below
    content = bytearray((tmp_path / "unsigned.tif").read_bytes())
    start = content.index(struct.pack("<HHII", 339, 3, 1, 2)[:10])
    content[start : start + 12] = struct.pack("<HHII", 339, 3, 1, 1)
    (tmp_path / "unsigned.tif").write_bytes(content)
    assert np.abs(read(tmp_path / "unsigned.tif") - GREY_RAMP[..., None]).max() <= 1


def test_16_bits_in_color_and_in_grey_agree(tmp_path):
    color_rows = [b"".join(struct.pack(">HHH", v, v, v) for v in RAMP[0])] * 60
    (tmp_path / "color.png").write_bytes(encode_png(color_rows, (80, 60), 16, 2))
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "color.png"), read(tmp_path / "grey.png"))


COLOR = Image.new("RGB", (8, 8), (200, 40, 40))


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "P", "RGBA", "RGBa"]
)
def test_a_color_is_the_same_in_every_color_mode(mode):
    source = COLOR.convert("RGBA") if mode == "RGBa" else COLOR
    converted = source.quantize() if mode == "P" else source.convert(mode)
    pixels = np.asarray(to_rgb_image(converted)).astype(int)
    assert np.abs(pixels - [200, 40, 40]).max() <= 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "PA", "P"])
def test_black_and_white_are_the_same_in_every_grey_mode(mode):
    grey = Image.fromarray(np.array([[0, 255]], np.uint8))
    image = grey.convert("LA").convert("La") if mode == "La" else grey.convert(mode)
    assert np.asarray(to_rgb_image(image))[0, :, 0].tolist() == [0, 255]


def draw_transparent_frame(mode="RGBA"):
    """A black opaque square in red, on transparent black."""
    image = Image.new("RGBA", (80, 60), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((20, 10, 60, 50), fill=(220, 30, 30, 255))
    ImageDraw.Draw(image).rectangle((30, 20, 50, 40), fill=(0, 0, 0, 255))
    return image if mode == "RGBA" else image.convert(mode)


@pytest.mark.parametrize(
    "name", ["rgba.png", "la.png", "rgba.webp", "rgba.tif", "palette.png", "palette.gif", "pa"]
)
def test_transparency_is_white_and_opaque_black_stays(name, tmp_path):
    image = draw_transparent_frame("LA" if name == "la.png" else "RGBA")
    if name.startswith("palette"):
        image = Image.new("P", (80, 60), 0)
        image.putpalette([0, 0, 0, 220, 30, 30, 0, 0, 0] + [0] * 747)
        ImageDraw.Draw(image).rectangle((20, 10, 60, 50), fill=1)
        ImageDraw.Draw(image).rectangle((30, 20, 50, 40), fill=2)
        image.save(tmp_path / name, transparency=0, optimize=False)
    elif name == "pa":
        image, name = draw_transparent_frame("L").convert("PA"), ""
        image.putalpha(draw_transparent_frame().getchannel("A"))
    else:
        image.save(tmp_path / name, lossless=True)
    rgb = to_rgb_image(image) if name == "" else read_rgb_image(tmp_path / name)
    pixels = np.asarray(rgb)
    assert pixels[3, 3].tolist() == [255] * 3
    assert pixels[30, 40].tolist() == [0] * 3
    assert rgb.info == {}
    assert np.array_equal(np.asarray(to_rgb_image(rgb)), pixels), "converting twice changes nothing"


GREY_ROWS = {2: b"\x1b", 4: bytes([0x02, 0xAF]), 8: bytes([0, 2, 9, 255]), 16: bytes(range(8))}


@pytest.mark.parametrize("bit_depth", GREY_ROWS)
def test_a_transparent_grey_of_any_depth_is_white(bit_depth):
    row = GREY_ROWS[bit_depth]
    width = len(row) * 8 // bit_depth
    second_value = int.from_bytes(row, "big") >> bit_depth * (width - 2) & 2**bit_depth - 1
    transparency = struct.pack(">H", second_value)
    opaque, transparent = (
        np.asarray(read_rgb_image(io.BytesIO(encode_png([row], (width, 1), bit_depth, 0, t))))
        for t in (b"", transparency)
    )
    assert (transparent[0, 1] == 255).all()
    assert (opaque[0, 1] < 200).all()
    kept = [0, *range(2, width)]
    assert np.array_equal(transparent[:, kept], opaque[:, kept])


def test_a_transparent_color_of_16_bits_is_white():
    row = struct.pack(">HHH", 0x1234, 0, 0) + struct.pack(">HHH", 0x5634, 0, 0)
    content = encode_png([row], (2, 1), 16, 2, struct.pack(">HHH", 0x1234, 0, 0))
    assert np.asarray(read_rgb_image(io.BytesIO(content)))[0].tolist() == [[255] * 3, [0x56, 0, 0]]


def draw_flag():
    """Left red, right blue, top green."""
    image = Image.new("RGB", (80, 60), (220, 30, 30))
    ImageDraw.Draw(image).rectangle((40, 0, 80, 60), fill=(40, 60, 220))
    ImageDraw.Draw(image).rectangle((0, 0, 80, 12), fill=(30, 180, 40))
    return image


UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize("orientation", UNDO)
def test_an_image_is_turned_as_a_viewer_shows_it(suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    draw_flag().transpose(UNDO[orientation]).save(path, exif=exif, quality=95)
    pixels = read(path)
    assert pixels.shape == (60, 80, 3)
    assert np.abs(pixels[40, 8] - [220, 30, 30]).max() < 30
    assert np.abs(pixels[40, 72] - [40, 60, 220]).max() < 30
    assert np.abs(pixels[5, 40] - [30, 180, 40]).max() < 30
    opened = Image.open(path)
    assert np.array_equal(np.asarray(to_rgb_image(opened)).astype(int), pixels)


@pytest.mark.parametrize("value", [0, 9, 1000])
def test_an_orientation_that_is_none_is_ignored(value, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = value
    draw_flag().save(tmp_path / "a.jpg", exif=exif)
    assert read(tmp_path / "a.jpg").shape == (60, 80, 3)
    draw_flag().save(tmp_path / "b.jpg", exif=b"Exif\0\0MM\0*damaged")
    assert read(tmp_path / "b.jpg").shape == (60, 80, 3)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_the_first_frame_of_an_animation_is_read(name, tmp_path):
    frames = [Image.new("RGB", (20, 10), c) for c in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert np.abs(read(tmp_path / name)[5, 10] - [255, 0, 0]).max() <= 3


def make_broken_file(name, folder):
    path = folder / f"{name}.png"
    whole = io.BytesIO()
    draw_flag().save(whole, "PNG")
    if name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "loop":
        path.symlink_to(path)
    elif name == "bomb":
        path.write_bytes(encode_png([b""], (30_000, 30_000), 8, 0))
    elif name == "nan":
        Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path, "TIFF")
    elif name == "huge floats":
        Image.fromarray(np.full((4, 4), 1e9, np.float32)).save(path, "TIFF")
    elif name == "negative":
        Image.fromarray(np.full((4, 4), -9, np.int32)).save(path, "TIFF")
    elif name != "missing":
        contents = {
            "empty": b"",
            "text": b"this is no image\n",
            "header only": whole.getvalue()[:20],
            "truncated": whole.getvalue()[:80],
            "damaged": whole.getvalue()[:60] + b"\xff" * 40 + whole.getvalue()[100:],
        }
        path.write_bytes(contents[name])
    return path


BROKEN = {
    "missing": "there is no such file",
    "empty": "the file is empty",
    "folder": "it is not a file",
    "pipe": "it is not a file",
    "loop": "too many levels of symbolic links",
    "text": "not an image in a format that Pillow reads",
    "header only": "",
    "truncated": "",
    "damaged": "",
    "bomb": "image size (900000000 pixels) exceeds limit",
    "nan": "not finite",
    "huge floats": "floats from 1e+09",
    "negative": "negative integers",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_line(name, tmp_path):
    path = make_broken_file(name, tmp_path)
    with pytest.raises(UnreadableImageError) as caught:
        read_rgb_image(path)
    message = str(caught.value)
    assert BROKEN[name] in message
    assert message
    assert "\n" not in message
    assert str(path) not in message, "the caller names the file"


def test_a_failing_machine_is_no_broken_image(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(rgb_image.os, "open", fail)
    with pytest.raises(UserError, match="the machine fails"):
        read_rgb_image(tmp_path / "a.png")


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_images_of_any_shape_have_a_central_square(size, tmp_path):
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "a.png")
    square = read_square(tmp_path / "a.png", 16)
    assert square.shape == (3, 16, 16)
    assert (square == np.array([10, 20, 30], np.uint8)[:, None, None]).all()
    assert rgb_image.is_one_color(square)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path):
    draw_flag().resize((1600, 1200)).save(tmp_path / "a.jpg", quality=95)
    assert read_rgb_image(tmp_path / "a.jpg", min_side=64).size == (200, 150)
    assert not rgb_image.is_one_color(read_square(tmp_path / "a.jpg", 32))


def test_no_warning_of_pillow_reaches_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # a warning from there to twice as many
    draw_flag().save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(tmp_path / "a.png").shape == (60, 80, 3)
        filters = list(warnings.filters)
        for _ in range(3):
            assert read_square(tmp_path / "a.png", 16).shape == (3, 16, 16)
        assert len(warnings.filters) == len(filters) + 1


def test_reading_for_training_repeats_no_warning_of_others(tmp_path):
    """A context manager for Pillow's warnings would make Python forget which it has shown."""
    draw_flag().save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            read_square(tmp_path / "a.png", 16)
            warnings.warn("of another library", stacklevel=1)
    assert len(caught) == 1
