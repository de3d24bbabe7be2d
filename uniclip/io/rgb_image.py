"""How an image of the user becomes 8-bit RGB pixels: one rule, wherever images are read.

Training data, user-defined evaluation sets and the model API use this module; published data sets
are read as their protocols have it (Pillow's `convert("RGB")`, orientation as stored).

- Orientation as a viewer shows it: EXIF, XMP and TIFF tags are applied.
- The first frame of an animation or the first page of a file.
- Every mode is scaled to 8 bits by its range: 16-bit values by 65535, of which the high byte is
  kept (as Pillow does for RGB of 16 bits). The modes I and F state no range unless the format does:
  integers take the smallest of 8, 16 and 32 bits that holds the whole image, floats the smallest of
  1, 255 and 65535. Values that fit no range, such as NaN, make the image unreadable.
- Transparency is put on white. A transparent palette entry is transparent by its index: an opaque
  entry of the same color stays opaque.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Union

from uniclip.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    ImageSource = Union[str, Path, IO[bytes]]

IMAGE_RULE = "8-bit RGB by the range of the mode, on white, EXIF orientation, first frame (1)"
"""Name and version of this rule, for the records of what a score depends on."""
ORIENTATION_TAG, BITS_TAG, SAMPLE_FORMAT_TAG = 0x0112, 258, 339
PILLOW_MODULES = r"PIL\b"
"""Pattern of the modules whose warnings are not shown."""
UNSIGNED_SAMPLES = 1
"""TIFF's SampleFormat of unsigned integers."""
FORMATS_OF_16_BIT_INTEGERS = ("PNG", "PPM")
"""Formats whose images of mode I hold 0 .. 65535, whatever the largest value is."""
UNIT_RANGE_TOLERANCE = 2.0
"""Floats up to here count as 0 .. 1 with a little overshoot."""
NEGATIVE_TOLERANCE = 0.1
"""Floats down to minus this share of the range count as overshoot too."""
FAILING_SYSTEM_ERRORS = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the machine, which say nothing about the image."""


class UnreadableImageError(ValueError):
    """An image that cannot be decoded; its text is one line that says why."""


def read_rgb_image(source: ImageSource, min_side: int | None = None) -> Image:
    """Decode an image by the rule of this module.

    Args:
        source: A file or an open stream.
        min_side: A JPEG may be decoded at a fraction of its size, with sides no shorter than this,
            in pixels.

    Returns:
        An RGB image without metadata.

    Raises:
        UnreadableImageError: The file is missing, not a regular file, or no image that Pillow can
            decode.
        UserError: The machine cannot read files, whatever their content.
    """
    with silence_pillow_warnings():
        return decode_rgb_image(source, min_side)


def decode_rgb_image(source: ImageSource, min_side: int | None = None) -> Image:
    """Do what `read_rgb_image` does, with Pillow's warnings: for threads, which share filters."""
    if isinstance(source, (str, Path)):
        with _open_regular_file(source) as stream:
            return _decode(stream, min_side)
    return _decode(source, min_side)


def read_content(path: Path) -> bytes:
    """Return the bytes of an image file.

    Raises `UnreadableImageError` and `UserError` as `read_rgb_image`.
    """
    with _open_regular_file(path) as stream, _translate_errors():
        return stream.read()


def to_rgb_image(image: Image) -> Image:
    """Convert an opened image (its current frame) by the rule of this module.

    Returns:
        An RGB image without metadata, which a second conversion leaves as it is.

    Raises:
        UnreadableImageError: The image cannot be decoded, or its values have no known range.
    """
    with silence_pillow_warnings(), _translate_errors():
        return _convert(image)


def crop_and_resize(
    image: Image, image_size: int, interpolation: str = "bicubic"
) -> NDArray[np.uint8]:
    """Return the central square of an RGB image, resized (antialiased).

    Args:
        image: RGB.
        image_size: Side of the result, in pixels.
        interpolation: "bicubic" or "bilinear".

    Returns:
        (3, image_size, image_size) uint8.
    """
    import numpy as np
    from PIL.Image import Resampling

    crop_size = min(image.size)
    left, top = (image.width - crop_size) // 2, (image.height - crop_size) // 2
    center_crop = image.crop((left, top, left + crop_size, top + crop_size))
    resized_image = center_crop.resize((image_size, image_size), Resampling[interpolation.upper()])
    return np.asarray(resized_image, dtype=np.uint8).transpose(2, 0, 1).copy()


def read_square(source: ImageSource, image_size: int) -> NDArray[np.uint8]:
    """Return the central square of an image as (3, image_size, image_size) uint8.

    Raises `UnreadableImageError` and `UserError` as `read_rgb_image`.
    """
    return crop_and_resize(read_source_image(source, image_size), image_size)


def read_source_image(source: ImageSource, image_size: int) -> Image:
    """Return the image of which squares of `image_size` pixels and views are made.

    A JPEG may be decoded at a fraction of its size, with sides of at least two squares.

    For training, which reads images all the time: Pillow's warnings are ignored from then on. (On
    leaving a context with other filters, Python would show warnings of other libraries again that
    it shows once.)

    Raises `UnreadableImageError` and `UserError` as `read_rgb_image`.
    """
    if not any(getattr(f[3], "pattern", None) == PILLOW_MODULES for f in warnings.filters):
        warnings.filterwarnings("ignore", module=PILLOW_MODULES)
    return decode_rgb_image(source, min_side=2 * image_size)


@contextmanager
def silence_pillow_warnings() -> Iterator[None]:
    """Context without Pillow's warnings, such as that of a very large image. Not for threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=PILLOW_MODULES)
        yield


def is_one_color(pixels: NDArray[np.uint8]) -> bool:
    """Return whether all pixels (3, H, W) of an image are equal."""
    return bool((pixels == pixels[:, :1, :1]).all())


# ---- files and errors ----------------------------------------------------------------------------


def _open_regular_file(path: str | Path) -> IO[bytes]:
    """Open a file; a pipe does not block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        _require_working_system(error)
        raise UnreadableImageError(_describe_open_error(error)) from None
    stream = os.fdopen(descriptor, "rb", closefd=True) if _is_regular(descriptor) else None
    if stream is None:
        os.close(descriptor)
        raise UnreadableImageError("it is not a file")
    if os.fstat(descriptor).st_size == 0:
        stream.close()
        raise UnreadableImageError("the file is empty")
    return stream


def _is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def _describe_open_error(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return (getattr(error, "strerror", None) or str(error)).lower()


def _require_working_system(error: BaseException) -> None:
    if isinstance(error, OSError) and error.errno in FAILING_SYSTEM_ERRORS:
        reason = os.strerror(error.errno or 0)
        raise UserError(
            f"an image cannot be read because the machine fails ({reason}): check its file system "
            "and its limits, then run again"
        ) from None


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise whatever a decoder raises on damaged data as `UnreadableImageError`."""
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        yield
    except (UnreadableImageError, UserError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError(
            "not an image in a format that Pillow reads, or damaged"
        ) from None
    except pillow.DecompressionBombError as error:
        message = str(error).partition(", could be")[0]
        raise UnreadableImageError(message[:1].lower() + message[1:]) from None
    except MemoryError:
        raise UnreadableImageError("not enough memory to decode it") from None
    except Exception as error:
        _require_working_system(error)
        message = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
        raise UnreadableImageError(message) from None


# ---- decoding ------------------------------------------------------------------------------------


def _decode(stream: IO[bytes], min_side: int | None) -> Image:
    from PIL import Image as pillow

    with _translate_errors(), pillow.open(stream) as image:
        _scale_transparent_color(image)
        if min_side is not None:
            image.draft("RGB", (min_side, min_side))
        return _convert(image)


def _convert(image: Image) -> Image:
    from PIL import Image as pillow

    image.load()
    upright_image = _apply_orientation(image)
    if upright_image.mode[0] in "IF":
        rgb_image = _scale_to_8_bits(upright_image, image).convert("RGB")
    elif upright_image.has_transparency_data:
        rgba_image = _convert_to_rgba(upright_image)
        white = pillow.new("RGBA", rgba_image.size, "white")
        rgb_image = pillow.alpha_composite(white, rgba_image).convert("RGB")
    else:
        rgb_image = upright_image.convert("RGB")
    rgb_image.info = {}  # or the color of a transparent palette entry would become transparent
    return rgb_image


def _apply_orientation(image: Image) -> Image:
    """Turn and mirror an image as its metadata say; damaged metadata say nothing."""
    from PIL.Image import Transpose

    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation: Any = image.getexif().get(ORIENTATION_TAG)
        method = methods.get(orientation)
    except Exception:
        return image
    return image if method is None else image.transpose(method)


def _convert_to_rgba(image: Image) -> Image:
    straight_modes = {"La": "LA", "RGBa": "RGBA"}
    return image.convert(straight_modes.get(image.mode, image.mode)).convert("RGBA")


def _scale_transparent_color(image: Image) -> None:
    """Scale the transparent color of a PNG to 8 bits as Pillow scales its pixels."""
    transparency = image.info.get("transparency")
    tile = getattr(image, "tile", None)
    raw_mode = tile[0][3] if tile else None
    if isinstance(transparency, int) and raw_mode in ("L;2", "L;4"):
        image.info["transparency"] = transparency * (85 if raw_mode == "L;2" else 17)
    elif isinstance(transparency, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparency)


# ---- values of more than 8 bits ------------------------------------------------------------------


def _scale_to_8_bits(image: Image, original_image: Image) -> Image:
    """Scale an image of mode I, F or one of I;16 to mode L.

    original_image: The image before it was turned, which knows its format.
    """
    import numpy as np
    from PIL import Image as pillow

    values = _get_values(image, original_image)
    if values.dtype.kind == "f":
        levels = _scale_floats(values)
    elif image.mode.startswith("I;16"):
        num_bits = 12 if _get_tiff_tag(original_image, BITS_TAG) == 12 else 16
        levels = np.minimum(values >> (num_bits - 8), 255)
    else:
        levels = _scale_integers(values, original_image)
    levels = levels.astype(np.uint8)
    transparency = image.info.get("transparency")
    if isinstance(transparency, int):
        levels[values == transparency] = 255
    return pillow.fromarray(levels)


def _get_values(image: Image, original_image: Image) -> NDArray[Any]:
    """Return the values (H, W) of an image; a TIFF may hold unsigned integers in mode I."""
    import numpy as np

    if image.mode == "I;16N":
        image = image.convert("I")  # older versions of Pillow give no array
    values = np.asarray(image)
    is_unsigned = _get_tiff_tag(original_image, SAMPLE_FORMAT_TAG, 1) == UNSIGNED_SAMPLES
    if image.mode == "I" and is_unsigned and _get_tiff_tag(original_image, BITS_TAG) == 32:
        return values.view(np.uint32)
    return values


def _get_tiff_tag(image: Image, tag: int, default: int | None = None) -> Any:
    """Return the first value of a tag; None for other formats, `default` for a missing tag."""
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return None
    value = tags.get(tag, default)
    return value[0] if isinstance(value, tuple) else value


def _scale_integers(values: NDArray[Any], original_image: Image) -> NDArray[Any]:
    smallest, largest = int(values.min()), int(values.max())
    if smallest < 0:
        raise UnreadableImageError("its pixels are negative integers; save it with 8 or 16 bits")
    if original_image.format in FORMATS_OF_16_BIT_INTEGERS:
        num_bits = 16
    else:
        full_range = 32 if values.dtype.kind == "u" else 31
        num_bits = next((n for n in (8, 16) if largest < 2**n), full_range)
    return values >> (num_bits - 8)


def _scale_floats(values: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if not np.isfinite(values).all():
        raise UnreadableImageError("some of its pixels are not finite numbers")
    smallest, largest = float(values.min()), float(values.max())
    limits = {1.0: UNIT_RANGE_TOLERANCE, 255.0: 255.5, 65535.0: 65535.5}
    value_range = next((r for r, limit in limits.items() if largest <= limit), None)
    if value_range is None or smallest < -NEGATIVE_TOLERANCE * value_range:
        raise UnreadableImageError(
            f"its pixels are floats from {smallest:g} to {largest:g}, not within 0 to 1, 255 or "
            "65535; save it with 8 or 16 bits"
        )
    return np.rint(np.clip(values.astype(np.float64) / value_range, 0.0, 1.0) * 255.0)
