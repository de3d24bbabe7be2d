"""Separable Gaussian blur of 8-bit images with short kernels, in integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]

SMALL_SIGMA = 0.28
"""Up to this standard deviation, in pixels, all weights but the centre's round to 0."""
WIDE_SIGMA = 3.0
"""From this standard deviation on, in pixels, weights of 8 bits are too coarse; they have 16."""


def blur(image: UInt8, sigma: float) -> UInt8:
    """Return an image (3, H, W) blurred; at the border the kernel is cut and renormalized.

    Weights that round to 0 of 256 (of 65536 from `WIDE_SIGMA` on) are left out.

    Args:
        image: (3, H, W).
        sigma: Standard deviation, in pixels.
    """
    _, height, width = image.shape
    kernel = build_kernel(sigma, max(height, width))
    reach = len(kernel) - 1
    if reach == 0:
        return image
    num_bits = _count_bits(sigma)
    words = np.uint16 if num_bits == 8 else np.uint32  # hold 255 * 2**num_bits
    padded = np.zeros((3, height + 2 * reach, width + 2 * reach), words)
    interior = padded[:, reach : reach + height, reach : reach + width]
    interior[:] = image
    # Shifts of the flat array are contiguous. Rows run into each other in the margins only, which
    # stay 0 until the last pass.
    for axis, shift in ((1, padded.shape[2]), (2, 1)):
        _sum_neighbours(padded.reshape(-1), shift, kernel)
        border, border_values = _renormalize_border(interior, axis, kernel)
        padded += words(2 ** (num_bits - 1))
        padded >>= words(num_bits)
        interior[(slice(None),) * axis + (border,)] = border_values
    return interior.astype(np.uint8)


def _count_bits(sigma: float) -> int:
    """Return the binary digits of a kernel's weights."""
    return 8 if sigma < WIDE_SIGMA else 16


def build_kernel(sigma: float, size: int) -> Int64:
    """Return the weights at the distances 0 .. r, of 256, or of 65536 from `WIDE_SIGMA` on.

    The centre's makes the sum over both sides equal to that; a single weight changes nothing.

    Args:
        sigma: Standard deviation, in pixels.
        size: Longer side of the image, in pixels.
    """
    if sigma <= SMALL_SIGMA:
        return np.ones(1, np.int64)
    total = 2 ** _count_bits(sigma)
    weights = np.exp(-0.5 * (np.arange(int(5 * sigma) + 2) / sigma) ** 2)
    sides = np.rint(weights[1:] * (total / (2 * weights.sum() - 1))).astype(np.int64)
    sides = sides[: np.count_nonzero(sides)]
    return np.array([total - 2 * sides.sum(), *sides])[:size]


def _sum_neighbours(flat: NDArray[Any], shift: int, kernel: Int64) -> None:
    """Replace each element by the weighted sum of those at multiples of `shift`, in place."""
    weights = kernel.astype(flat.dtype)
    margin = (len(kernel) - 1) * shift
    length = len(flat) - 2 * margin
    sums = flat[margin : margin + length] * weights[0]
    pair = np.empty_like(sums)
    for distance in range(1, len(kernel)):
        before, after = margin - distance * shift, margin + distance * shift
        np.add(flat[before : before + length], flat[after : after + length], out=pair)
        pair *= weights[distance]
        sums += pair
    flat[margin : margin + length] = sums


def _renormalize_border(sums: NDArray[Any], axis: int, kernel: Int64) -> tuple[Int64, Int64]:
    """Return the positions along `axis` whose kernel is cut, and the values there.

    sums: (3, H, W) sums of weighted pixels.
    """
    size, reach = sums.shape[axis], len(kernel) - 1
    cumulative = np.cumsum([0, *kernel[:0:-1], *kernel])
    position = np.arange(size)
    first = np.maximum(reach - position, 0)
    last = np.minimum(reach + size - position, 2 * reach + 1)
    inside = cumulative[last] - cumulative[first]
    border = np.flatnonzero(inside < cumulative[-1])
    divisor = inside[border] if axis == 2 else inside[border][:, None]
    return border, (2 * sums.take(border, axis).astype(np.int64) + divisor) // (2 * divisor)
