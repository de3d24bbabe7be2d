"""Application of sampled augmentation parameters to pixels.

`resample` crops and resizes; `color` and `blur` change the pixels of the crop, in integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from uniclip.augmentation import blur, color, resample
from uniclip.augmentation.resample import Photograph
from uniclip.augmentation.transform import AugmentationParams

UInt8 = NDArray[np.uint8]
Images = UInt8 | Sequence[Photograph]
"""Images of one size (n, 3, H, W), or n photographs of any size."""

CHUNK_PIXELS = 2**16
"""Pixels of views that are made at once: intermediate values stay in the processor's cache."""


def apply_augmentation(images: Images, params: AugmentationParams, image_size: int) -> UInt8:
    """Return the views of images under augmentation parameters.

    Images that are not square are first cropped to their central square, but for photographs, whose
    crop boxes reach all of them (`resample.compute_crop_box`). Runs on one thread whatever the
    caller's setting, so that the result does not depend on it.

    Args:
        images: Images of one size, or photographs.
        params: Parameters of n images.
        image_size: Side of the views, in pixels.

    Returns:
        (n, 3, image_size, image_size) uint8.
    """
    assert len(images) == len(params), "one set of parameters an image"
    if isinstance(images, np.ndarray):
        images = np.ascontiguousarray(resample.crop_center(images))
        if not images.flags.writeable:
            images = images.copy()  # torch.from_numpy needs a writable array
    views = np.empty((len(images), 3, image_size, image_size), np.uint8)
    chunk_size = max(1, CHUNK_PIXELS // image_size**2)
    with use_single_thread(), torch.no_grad():
        for start in range(0, len(images), chunk_size):
            rows = slice(start, start + chunk_size)
            _make_views(views[rows], images[rows], params[rows])
    return views


@contextmanager
def use_single_thread() -> Iterator[None]:
    """Context in which torch computes on one thread."""
    previous_threads = torch.get_num_threads()
    if previous_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(previous_threads)


def _make_views(views: UInt8, images: Images, params: AugmentationParams) -> None:
    """Write the views (m, 3, S, S) of a few images."""
    image_size = views.shape[-1]
    if isinstance(images, np.ndarray):
        views[:] = resample.crop_squares(images, params, image_size)
    else:
        columns = (params.area, params.aspect, params.x, params.y)
        for view, image, box in zip(views, images, zip(*(c.tolist() for c in columns))):
            view[:] = resample.crop_photograph(image, box, image_size)
    flipped = np.flatnonzero(params.flip > 0)
    if len(flipped):
        views[flipped] = (
            torch.from_numpy(views[flipped]).flip(3).numpy()
        )  # numpy: three times slower
    _change_colors(views.reshape(len(views), 3, -1), params)
    for view, sigma in zip(views, params.sigma.tolist()):
        if sigma > 0:
            view[:] = blur.blur(view, sigma * image_size)


def _change_colors(views: UInt8, params: AugmentationParams) -> None:
    """Apply brightness, contrast, saturation, hue, then greyscale to views (m, 3, P), in place."""
    columns = (params.brightness, params.contrast, params.saturation, params.hue, params.grey)
    rows = np.flatnonzero(np.any(np.stack(columns) != 0, axis=0))
    if not len(rows):
        return
    planes = views[rows].astype(np.int16)
    brightness, contrast, saturation, hue, grey = (
        column[rows].astype(np.float64) for column in columns
    )
    _change_rows(planes, brightness != 0, color.scale_brightness, np.exp(brightness))
    _change_rows(planes, contrast != 0, color.scale_contrast, np.exp(contrast))
    _change_rows(planes, saturation != 0, color.scale_saturation, np.exp(saturation))
    _change_rows(planes, hue != 0, color.rotate_hue, hue)
    grey_rows = np.flatnonzero(grey)
    if len(grey_rows):
        planes[grey_rows] = color.compute_luma(planes[grey_rows])[:, None]
    views[rows] = planes


def _change_rows(
    planes: color.Int16,
    is_changed: NDArray[np.bool_],
    operation: Callable[[color.Int16, color.Float64], None],
    values: color.Float64,
) -> None:
    """Apply an operation to some of the images (m, 3, P), in place."""
    if is_changed.all():
        operation(planes, values)
    elif is_changed.any():
        rows = np.flatnonzero(is_changed)
        changed_planes = planes[rows]
        operation(changed_planes, values[rows])
        planes[rows] = changed_planes
