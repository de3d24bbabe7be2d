"""What the functions of a loaded model take: images and texts in the forms that users have.

Anything else is a `ModelInputError`, which says what is taken; it is a `TypeError` and a
`ValueError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from uniclip.errors import UserError
from uniclip.io import rgb_image

OneImage = Union[str, Path, Image.Image, NDArray[np.uint8], Tensor]
ImageInput = Union[OneImage, Iterable[OneImage]]
TextInput = Union[str, Iterable[str]]

IMAGES_TAKEN = (
    "give one image or a list of images: paths, PIL images, or uint8 arrays or tensors of shape "
    "(3, h, w), (h, w, 3) or (h, w), or (n, 3, h, w) for n images"
)
TEXTS_TAKEN = "give one text or a list of texts"


class ModelInputError(UserError, TypeError):
    """A model is given something that it does not take."""


def read_images(images: ImageInput, min_side: int) -> NDArray[np.uint8] | Iterator[Image.Image]:
    """Return images as one array, or yield RGB images of different sizes.

    Args:
        images: One image or several: paths, PIL images, uint8 arrays or tensors; arrays and tensors
            also of shape (n, 3, h, w) or (n, h, w, 3).
        min_side: A JPEG may be decoded at a fraction of its size, with sides no shorter than this,
            in pixels.

    Returns:
        (n, 3, h, w) uint8 for arrays and tensors of one size, else RGB images.

    Raises:
        ModelInputError: `images` is something else.
        UserError: A file cannot be read.
    """
    if isinstance(images, (np.ndarray, Tensor)) and not _holds_text(images):
        return _to_batch(images)
    if isinstance(images, (str, os.PathLike, Image.Image)):
        return iter([_read_image(images, min_side, "the image")])
    items = _list_items(images, "images", IMAGES_TAKEN)
    arrays = [
        _to_channels_first(item, f"images[{i}]")
        for i, item in enumerate(items)
        if isinstance(item, (np.ndarray, Tensor))
    ]
    if arrays and len(arrays) == len(items) and len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    for i, item in enumerate(items):
        if not isinstance(item, (str, os.PathLike, Image.Image, np.ndarray, Tensor)):
            raise ModelInputError(f"images[{i}] is {_describe(item)}: {IMAGES_TAKEN}")
    return (_read_image(item, min_side, f"images[{i}]") for i, item in enumerate(items))


def list_texts(texts: TextInput) -> list[str]:
    """Return one text or several as a list.

    Raises:
        ModelInputError: `texts` is neither a text nor an iterable of texts.
    """
    if isinstance(texts, str):
        return [texts]
    items = _list_items(texts, "texts", TEXTS_TAKEN)
    for i, text in enumerate(items):
        if not isinstance(text, str):
            raise ModelInputError(f"texts[{i}] is {_describe(text)}: {TEXTS_TAKEN}")
    return [str(text) for text in items]


def to_float_rows(rows: Any, name: str, num_columns: int) -> NDArray[np.float32]:
    """Return rows (n, num_columns) as float32.

    Raises:
        ModelInputError: They are no numbers, or of another shape.
    """
    array = _to_numpy(rows) if isinstance(rows, Tensor) else np.asarray(rows)
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != num_columns:
        raise ModelInputError(
            f"{name} is {_describe(rows)}: give numbers of shape (n, {num_columns})"
        )
    return array.astype(np.float32, copy=False)


def _list_items(values: Any, name: str, taken: str) -> list[Any]:
    if isinstance(values, np.ndarray):
        if values.ndim != 1:
            raise ModelInputError(f"{name} is {_describe(values)}: {taken}")
        return list(values.tolist())
    is_unordered = isinstance(values, (bytes, bytearray, Mapping, set, frozenset, Tensor))
    if is_unordered or not isinstance(values, Iterable):
        raise ModelInputError(f"{name} is {_describe(values)}: {taken}")
    return list(values)


def _read_image(image: Any, min_side: int, name: str) -> Image.Image:
    """Return an image in RGB by the rule for users' own images (`uniclip.io.rgb_image`)."""
    try:
        if isinstance(image, (str, os.PathLike)):
            name = os.fspath(image)
            return rgb_image.read_rgb_image(Path(name).expanduser(), min_side)
        if isinstance(image, Image.Image):
            name = getattr(image, "filename", "") or name
            return rgb_image.to_rgb_image(image)
    except rgb_image.UnreadableImageError as error:
        raise UserError(f"{name} cannot be read ({error}); repair it or leave it out") from None
    return Image.fromarray(_to_channels_first(image, name).transpose(1, 2, 0))


def _to_batch(images: NDArray[Any] | Tensor) -> NDArray[np.uint8]:
    """Return an array of one image or several as (n, 3, h, w)."""
    if images.ndim < 4:
        return _to_channels_first(images, "images")[None]
    array = _to_uint8(images, "images")
    if array.ndim == 4 and array.shape[1] != 3 and array.shape[3] == 3:
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] != 3 or 0 in array.shape[2:]:
        raise ModelInputError(f"images is {_describe(images)}: {IMAGES_TAKEN}")
    return array


def _to_channels_first(image: NDArray[Any] | Tensor, name: str) -> NDArray[np.uint8]:
    """Return an array of one image as (3, h, w)."""
    array = _to_uint8(image, name)
    if array.ndim == 2:
        array = np.stack([array] * 3)
    elif array.ndim == 3 and array.shape[0] != 3 and array.shape[2] == 3:
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != 3 or 0 in array.shape:
        raise ModelInputError(f"{name} is {_describe(image)}: {IMAGES_TAKEN}")
    return array


def _to_uint8(pixels: NDArray[Any] | Tensor, name: str) -> NDArray[np.uint8]:
    array = _to_numpy(pixels) if isinstance(pixels, Tensor) else pixels
    if array.dtype != np.uint8:
        hint = "multiply values from 0 to 1 by 255, and convert" if array.dtype.kind == "f" else ""
        raise ModelInputError(
            f"{name} is {_describe(pixels)}: pixels are uint8, from 0 to 255"
            + (f"; {hint}" if hint else "")
        )
    return array


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _holds_text(values: NDArray[Any] | Tensor) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind in "UO"


def _describe(value: Any) -> str:
    """Return type and shape of a value, for an error."""
    kind = type(value).__name__
    if isinstance(value, (np.ndarray, Tensor)):
        kind = "a tensor" if isinstance(value, Tensor) else "an array"
        return f"{kind} of {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "None" if value is None else f"of type {kind}"
