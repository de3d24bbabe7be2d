"""What a transform does to pixels: the kernels behind `augment.apply`.

Inside, pictures are (n, H, 3, W) float32 in 0 .. 255, so that rows and columns are each mixed by
one batched matrix product. Torch's index and `where` kernels are slow on the CPU: hence what looks
like a detour around them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniclip.augmentation.transform import Float32, Transform


def apply(pixels: NDArray[np.uint8], transform: Transform, size: int) -> NDArray[np.uint8]:
    """The views, (n, 3, size, size) uint8, of square pictures (n, 3, S, S) uint8; n > 0."""
    whole = np.ascontiguousarray(pixels)
    if not whole.flags.writeable:
        whole = whole.copy()  # torch wants what it could write
    with _one_thread(), torch.no_grad():
        x = _cropped(torch.from_numpy(whole), transform, size)
        _jitter(x, transform)
        _blur(x, transform)
        views = x.add_(0.5).clamp_(0, 255).to(torch.uint8)  # the cast cuts: half rounds up
        return views.permute(0, 2, 1, 3).contiguous().numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _cropped(pixels: Tensor, transform: Transform, size: int) -> Tensor:
    """(n, 3, S, S) uint8 to (n, size, 3, size): crop, resize, flip."""
    area, ratio = transform.area.astype(np.float64), np.exp(transform.aspect.astype(np.float64))
    n, _, side, _ = pixels.shape
    rows = _filter(np.sqrt(area / ratio), transform.y, side, size)
    columns = _filter(np.sqrt(area * ratio), transform.x, side, size, transform.flip)
    x = pixels.float().reshape(n, 3 * side, side).bmm(columns.transpose(1, 2))
    x = x.reshape(n, 3, side, size).permute(0, 2, 1, 3)
    return rows.bmm(x.reshape(n, side, 3 * size)).reshape(n, size, 3, size)


def _filter(
    extent: NDArray[np.float64],
    position: Float32,
    side: int,
    size: int,
    flip: Float32 | None = None,
) -> Tensor:
    """(n, size, side) float32: how the pixels of one axis of the canvas mix into the view's."""
    start = 0.5 * (1 - extent + position.astype(np.float64) * np.abs(1 - extent))
    step = extent * side / size
    centre = start[:, None] * side + step[:, None] * (np.arange(size) + 0.5)
    centre = np.clip(centre, 0.5, side - 0.5)
    if flip is not None:
        centre = np.where(flip[:, None] > 0, centre[:, ::-1], centre)
    reach = torch.from_numpy(1 / np.maximum(step, 1.0)).float()[:, None, None]
    distance = torch.from_numpy(centre).float()[:, :, None] - (torch.arange(side) + 0.5)
    weights = distance.abs_().mul_(reach).neg_().add_(1).clamp_(min=0)
    return weights.div_(weights.sum(-1, keepdim=True))


def _jitter(x: Tensor, transform: Transform) -> None:
    """Brightness, contrast, saturation, hue, then grey, in place; each clipped to 0 .. 255."""
    logs = {name: getattr(transform, name) for name in ("brightness", "contrast", "saturation")}
    rows = _rows(sum(log != 0 for log in logs.values()) > 0)
    part = x.index_select(0, rows)
    for name, log in logs.items():
        factor = _column(np.exp(log.astype(np.float64)))[rows]
        if name == "brightness":
            part.mul_(factor)
        else:
            grey = _luma(part)
            towards = grey.mean((1, 2, 3), keepdim=True) if name == "contrast" else grey
            part.mul_(factor).add_((1 - factor) * towards)
        part.clamp_(0, 255)
    x.index_copy_(0, rows, part)
    rows = _rows(transform.hue != 0)
    sixths = _column(transform.hue.astype(np.float64) * 6)[rows]
    x.index_copy_(0, rows, _turned(x.index_select(0, rows), sixths))
    rows = _rows(transform.grey > 0)
    x.index_copy_(0, rows, _luma(x.index_select(0, rows)).expand(-1, -1, 3, -1))


def _rows(mask: NDArray[np.bool_]) -> Tensor:
    return torch.from_numpy(np.flatnonzero(mask))


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values).float()[:, None, None, None]


def _luma(x: Tensor) -> Tensor:
    """(n, H, 1, W): ITU-R 601 grey."""
    return 0.299 * x[:, :, :1] + 0.587 * x[:, :, 1:2] + 0.114 * x[:, :, 2:]


def _turned(x: Tensor, sixths: Tensor) -> Tensor:
    """Hue turned by `sixths` (n, 1, 1, 1) of a circle, HSV saturation and value kept."""
    r, g, b = (channel.contiguous() for channel in x.unbind(2))
    value = torch.maximum(torch.maximum(r, g), b)
    chroma = value - torch.minimum(torch.minimum(r, g), b)
    red, green = (torch.eq(value, c, out=torch.empty_like(c)) for c in (r, g))
    green.mul_(1 - red)
    blue = 1 - red - green
    hue = (g - b).mul_(red).addcmul_(b - r, green).addcmul_(r - g, blue)
    hue.div_(chroma.clamp(min=1e-6)).add_(green, alpha=2).add_(blue, alpha=4).add_(sixths[:, 0])
    turned = torch.empty_like(x)
    for channel, corner in enumerate((5.0, 3.0, 1.0)):
        k = hue + corner
        k.sub_((k / 6).floor_(), alpha=6).sub_(2).abs_().neg_().add_(2).clamp_(0, 1)
        torch.sub(value, k.mul_(chroma), out=turned[:, :, channel])
    return turned


def _blur(x: Tensor, transform: Transform) -> None:
    """Separable Gaussian in place; beyond the border the kernel is cut and renormalised."""
    rows = _rows(transform.sigma > 0)
    size = x.shape[-1]
    sigma = transform.sigma[rows.numpy()].astype(np.float64)[:, None] * size
    far = -0.5 * (np.arange(size) / sigma) ** 2
    # Weights below 1e-9 change no pixel, and as denormal numbers would slow the product tenfold.
    bell = torch.from_numpy(np.where(far > -20, np.exp(far), 0)).float()
    apart = (torch.arange(size)[:, None] - torch.arange(size)).abs()
    kernel = bell.index_select(1, apart.reshape(-1)).reshape(-1, size, size)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    part = kernel.bmm(x.index_select(0, rows).reshape(len(rows), size, 3 * size))
    part = part.reshape(len(rows), size * 3, size).bmm(kernel.transpose(1, 2))
    x.index_copy_(0, rows, part.reshape(len(rows), size, 3, size))
