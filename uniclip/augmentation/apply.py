"""Application of sampled augmentation parameters to pixels.

Inside this module images are (n, H, 3, W) float32 in 0 .. 255, so that rows and columns are each
resampled by one batched matrix product. Torch's index and `where` kernels are slow on the CPU,
which is why the code avoids them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniclip.augmentation.transform import AugmentationParams, Float32


def apply_augmentation(
    pixels: NDArray[np.uint8], params: AugmentationParams, image_size: int
) -> NDArray[np.uint8]:
    """Return the views of images under augmentation parameters.

    Images that are not square are first cropped to their central square. Crops are resampled with
    an antialiased triangle filter (Pillow's bilinear); a crop box that reaches beyond the image
    repeats the border pixels. Runs on one thread whatever the caller's setting, so that the result
    does not depend on it.

    Args:
        pixels: (n, 3, H, W) uint8.
        params: Parameters of n images.
        image_size: Side of the views, in pixels.

    Returns:
        (n, 3, image_size, image_size) uint8.
    """
    assert len(pixels) == len(params), "one set of parameters an image"
    if len(pixels) == 0:
        return np.zeros((0, 3, image_size, image_size), np.uint8)
    source_pixels = np.ascontiguousarray(_center_crop(pixels))
    if not source_pixels.flags.writeable:
        source_pixels = source_pixels.copy()  # torch.from_numpy needs a writable array
    with _use_single_thread(), torch.no_grad():
        x = _crop_resize_flip(torch.from_numpy(source_pixels), params, image_size)
        _apply_color_jitter(x, params)
        _apply_blur(x, params)
        views = x.add_(0.5).clamp_(0, 255).to(torch.uint8)  # truncates: half rounds up
        return views.permute(0, 2, 1, 3).contiguous().numpy()


def _center_crop(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[2:]
    crop_size = min(height, width)
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    return pixels[:, :, top : top + crop_size, left : left + crop_size]


@contextmanager
def _use_single_thread() -> Iterator[None]:
    previous_threads = torch.get_num_threads()
    if previous_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(previous_threads)


def _crop_resize_flip(pixels: Tensor, params: AugmentationParams, image_size: int) -> Tensor:
    """Crop, resize and flip: (n, 3, S, S) uint8 to (n, image_size, 3, image_size) float32."""
    area, aspect_ratio = params.area.astype(np.float64), np.exp(params.aspect.astype(np.float64))
    n, _, source_size, _ = pixels.shape
    row_weights = _build_resize_weights(
        np.sqrt(area / aspect_ratio), params.y, source_size, image_size
    )
    column_weights = _build_resize_weights(
        np.sqrt(area * aspect_ratio), params.x, source_size, image_size, params.flip
    )
    x = pixels.float().reshape(n, 3 * source_size, source_size).bmm(column_weights.transpose(1, 2))
    x = x.reshape(n, 3, source_size, image_size).permute(0, 2, 1, 3)
    return row_weights.bmm(x.reshape(n, source_size, 3 * image_size)).reshape(
        n, image_size, 3, image_size
    )


def _build_resize_weights(
    extent: NDArray[np.float64],
    position: Float32,
    source_size: int,
    image_size: int,
    flip: Float32 | None = None,
) -> Tensor:
    """Return the resampling weights of one axis, (n, image_size, source_size) float32.

    Args:
        extent: (n,) length of the crop box, as a fraction of the source.
        position: (n,) centre of the box within its slack, -1 .. 1.
        source_size: Pixels of the source image along the axis.
        image_size: Pixels of the view along the axis.
        flip: (n,) 1 = mirrored.
    """
    start = 0.5 * (1 - extent + position.astype(np.float64) * np.abs(1 - extent))
    step = extent * source_size / image_size
    centre = start[:, None] * source_size + step[:, None] * (np.arange(image_size) + 0.5)
    centre = np.clip(centre, 0.5, source_size - 0.5)
    if flip is not None:
        centre = np.where(flip[:, None] > 0, centre[:, ::-1], centre)
    inverse_radius = torch.from_numpy(1 / np.maximum(step, 1.0)).float()[:, None, None]
    distance = torch.from_numpy(centre).float()[:, :, None] - (torch.arange(source_size) + 0.5)
    weights = distance.abs_().mul_(inverse_radius).neg_().add_(1).clamp_(min=0)
    return weights.div_(weights.sum(-1, keepdim=True))


def _apply_color_jitter(x: Tensor, params: AugmentationParams) -> None:
    """Apply brightness, contrast, saturation, hue, then greyscale, in place.

    Values are clipped to 0 .. 255 after each operation.
    """
    log_factors = {name: getattr(params, name) for name in ("brightness", "contrast", "saturation")}
    rows = _select_rows(sum(log_factor != 0 for log_factor in log_factors.values()) > 0)
    selected_images = x.index_select(0, rows)
    for name, log_factor in log_factors.items():
        factor = _to_column(np.exp(log_factor.astype(np.float64)))[rows]
        if name == "brightness":
            selected_images.mul_(factor)
        else:
            grayscale = _to_grayscale(selected_images)
            blend_target = (
                grayscale.mean((1, 2, 3), keepdim=True) if name == "contrast" else grayscale
            )
            selected_images.mul_(factor).add_((1 - factor) * blend_target)
        selected_images.clamp_(0, 255)
    x.index_copy_(0, rows, selected_images)
    rows = _select_rows(params.hue != 0)
    hue_shift = _to_column(params.hue.astype(np.float64) * 6)[rows]
    x.index_copy_(0, rows, _rotate_hue(x.index_select(0, rows), hue_shift))
    rows = _select_rows(params.grey > 0)
    x.index_copy_(0, rows, _to_grayscale(x.index_select(0, rows)).expand(-1, -1, 3, -1))


def _select_rows(mask: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))


def _to_column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values).float()[:, None, None, None]


def _to_grayscale(x: Tensor) -> Tensor:
    """Return the ITU-R 601 luma, (n, H, 1, W)."""
    return 0.299 * x[:, :, :1] + 0.587 * x[:, :, 1:2] + 0.114 * x[:, :, 2:]


def _rotate_hue(x: Tensor, hue_shift: Tensor) -> Tensor:
    """Rotate the hue by `hue_shift` (n, 1, 1, 1) sixths of the circle at equal HSV saturation and
    value."""
    r, g, b = (channel.contiguous() for channel in x.unbind(2))
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    is_red, is_green = (torch.eq(value, c, out=torch.empty_like(c)) for c in (r, g))
    is_green.mul_(1 - is_red)
    is_blue = 1 - is_red - is_green
    hue = (g - b).mul_(is_red).addcmul_(b - r, is_green).addcmul_(r - g, is_blue)
    hue.div_(chroma.clamp(min=1e-6)).add_(is_green, alpha=2).add_(is_blue, alpha=4).add_(
        hue_shift[:, 0]
    )
    rotated = torch.empty_like(x)
    for channel, channel_offset in enumerate((5.0, 3.0, 1.0)):
        k = hue + channel_offset
        k.sub_((k / 6).floor_(), alpha=6).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.sub(value, k.mul_(chroma), out=rotated[:, :, channel])
    return rotated


def _apply_blur(x: Tensor, params: AugmentationParams) -> None:
    """Apply a separable Gaussian in place; at the border the kernel is cut and renormalised."""
    rows = _select_rows(params.sigma > 0)
    image_size = x.shape[-1]
    sigma = params.sigma[rows.numpy()].astype(np.float64)[:, None] * image_size
    log_weights = -0.5 * (np.arange(image_size) / sigma) ** 2
    # Weights below 1e-9 change no pixel; as denormals they make the product ten times slower.
    gaussian = torch.from_numpy(np.where(log_weights > -20, np.exp(log_weights), 0)).float()
    distance = (torch.arange(image_size)[:, None] - torch.arange(image_size)).abs()
    kernel = gaussian.index_select(1, distance.reshape(-1)).reshape(-1, image_size, image_size)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    selected_images = kernel.bmm(
        x.index_select(0, rows).reshape(len(rows), image_size, 3 * image_size)
    )
    selected_images = selected_images.reshape(len(rows), image_size * 3, image_size).bmm(
        kernel.transpose(1, 2)
    )
    x.index_copy_(0, rows, selected_images.reshape(len(rows), image_size, 3, image_size))
