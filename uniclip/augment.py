"""Views of pictures: sampled, described as a vector, applied. Three separate steps.

A `Transform` holds the numbers drawn for each picture; `describe` turns any transform, the
evaluation's included, into the vector that the augmentation encoder sees; `apply` makes the pixels.
Numbers are drawn without a look at the pictures, by key and sample id. The order in which a view is
made is fixed: crop and resize, flip, brightness, contrast, saturation, hue, grey, blur.

The recipes are those of SLIP (Mu et al., 2022: weak) and MoCo v2 (Chen et al., 2020: strong). Ours:
some views are exactly the evaluation's; crops are drawn without rejection; the jitter's order is
fixed; the blur's width is a share of the picture, so that it means the same at 32 and 224 px.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip import rng

if TYPE_CHECKING:
    from torch import Tensor

Float32 = NDArray[np.float32]

NAMES = (
    "area", "aspect", "x", "y", "flip",
    "jittered", "brightness", "contrast", "saturation", "hue",
    "grey", "blurred", "sigma",
)  # fmt: skip
"""Columns of the vector."""

WIDTH = len(NAMES)

GROUPS: dict[str, tuple[int, ...]] = {
    "crop": (0, 1, 2, 3),
    "flip": (4,),
    "jitter": (5, 6, 7, 8, 9),
    "grey": (10,),
    "blur": (11, 12),
}
"""Columns of the vector that belong to one operation."""


@dataclass(frozen=True)
class Transform:
    """What is done to n pictures: each field (n,) float32, 0 (area: 1) where nothing is done."""

    area: Float32
    """Of the crop box, as a fraction of the canvas; above 1 zooms out (the border is repeated)."""
    aspect: Float32
    """Log of the box's width over its height."""
    x: Float32
    """Centre of the box within its slack: -1 left, 0 centred (or no slack), 1 right."""
    y: Float32
    """The same, -1 top, 1 bottom."""
    flip: Float32
    """1 = mirrored left to right."""
    jittered: Float32
    """1 = colours were jittered."""
    brightness: Float32
    """Log factor."""
    contrast: Float32
    """Log factor."""
    saturation: Float32
    """Log factor."""
    hue: Float32
    """Turns, in -1/2 .. 1/2."""
    grey: Float32
    """1 = without colour."""
    blurred: Float32
    """1 = blurred."""
    sigma: Float32
    """Standard deviation of the blur, as a fraction of the view's side."""

    def __len__(self) -> int:
        return len(self.area)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> Transform:
        """The transforms of some of the pictures."""
        return Transform(*(getattr(self, f.name)[index] for f in fields(self)))


def transform(n: int, **columns: NDArray[np.float64]) -> Transform:
    """A transform of n pictures from what it does; fields that are not named do nothing."""
    values = {f.name: np.zeros(n, np.float32) for f in fields(Transform)}
    values["area"] += 1
    values.update({name: np.asarray(v, np.float32) for name, v in columns.items()})
    return Transform(**values)


def boxed(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    width: NDArray[np.float64],
    height: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The fields area, aspect, x and y of a box on the unit canvas, each (n,)."""
    return {
        "area": width * height,
        "aspect": np.log(width / height),
        "x": _relative(left, width),
        "y": _relative(top, height),
    }


def _relative(start: NDArray[np.float64], extent: NDArray[np.float64]) -> NDArray[np.float64]:
    slack = np.abs(1 - extent)
    shift = 2 * start + extent - 1
    # Slack below a millionth of the canvas is rounding: such a box has no room to be off centre.
    return np.where(slack > 1e-6, shift / np.maximum(slack, 1e-6), 0.0)


# ---- sampling ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """A law of views."""

    smallest: float
    """Least area of a crop; the largest is 1."""
    jitter: float = 0.0
    """Probability of colour jitter."""
    grey: float = 0.0
    """Probability of losing colour."""
    blur: float = 0.0
    """Probability of blur."""


WEAK = Recipe(smallest=0.5)
STRONG = Recipe(smallest=0.2, jitter=0.8, grey=0.2, blur=0.5)

ASPECT = math.log(4 / 3)
"""Largest log aspect of a crop, either way."""
FACTOR = (0.6, 1.4)
"""Range of the factors of brightness, contrast and saturation."""
HUE = 0.1
"""Largest turn of the hue, either way."""
SIGMA = (0.1 / 224, 2.0 / 224)
"""Range of the blur's standard deviation: 0.1 to 2 px at 224 px, as published."""


def evaluation(n: int) -> Transform:
    """The evaluation transform of n pictures: the whole canvas, resized."""
    return transform(n)


def weak(key: int, ids: rng.UInt64, identity: float = 0.1) -> Transform:
    """Weak views of samples `ids` (n,): RandomResizedCrop(0.5, 1) and a flip."""
    return sample(WEAK, key, ids, identity)


def strong(key: int, ids: rng.UInt64, identity: float = 0.1) -> Transform:
    """Strong views of samples `ids` (n,): RandomResizedCrop(0.2, 1), flip, jitter, grey, blur."""
    return sample(STRONG, key, ids, identity)


def sample(recipe: Recipe, key: int, ids: rng.UInt64, identity: float) -> Transform:
    """Views drawn by `recipe`; with probability `identity` a view is exactly the evaluation's.

    The aspect is uniform (in log) among those at which a box of the drawn area fits the canvas;
    torchvision redraws until one fits and falls back to a centre crop.
    """
    u = rng.uniform(key, ids, 14).T
    done = u[0] >= identity
    area = np.where(done, recipe.smallest + (1 - recipe.smallest) * u[1], 1.0)
    jittered = done & (u[6] < recipe.jitter)
    blurred = done & (u[12] < recipe.blur)

    def between(low: float, high: float, column: int) -> NDArray[np.float64]:
        return low + (high - low) * u[column]

    return transform(
        len(ids),
        area=area,
        aspect=between(-1, 1, 2) * np.minimum(ASPECT, -np.log(area)),
        x=between(-1, 1, 3) * done,
        y=between(-1, 1, 4) * done,
        flip=done & (u[5] < 0.5),
        jittered=jittered,
        brightness=np.log(between(*FACTOR, 7)) * jittered,
        contrast=np.log(between(*FACTOR, 8)) * jittered,
        saturation=np.log(between(*FACTOR, 9)) * jittered,
        hue=between(-HUE, HUE, 10) * jittered,
        grey=done & (u[11] < recipe.grey),
        blurred=blurred,
        sigma=between(*SIGMA, 13) * blurred,
    )


# ---- describing ----------------------------------------------------------------------------------


def describe(transform: Transform) -> Float32:
    """The vectors, (n, WIDTH) float32: exactly 0 where nothing is done.

    Each column is divided by its standard deviation under the strong recipe without identity views,
    from closed forms (`DEVIATIONS`). Beyond four deviations, which the recipes never reach but other
    transforms may (a turn of the hue by half a circle), a column grows like a logarithm, so that
    one rare operation does not swamp the encoder. The box stands by area, aspect and position
    within its slack, never by its size in the source: that would leak the picture's own aspect.
    """
    columns = np.stack([getattr(transform, name) for name in NAMES], axis=1).astype(np.float64)
    columns[:, 0] -= 1
    scaled = columns / DEVIATIONS
    excess = np.maximum(np.abs(scaled) - 4, 0)
    bounded = np.where(excess > 0, np.sign(scaled) * (4 + np.log1p(excess)), scaled)
    return bounded.astype(np.float32)


def _deviations() -> NDArray[np.float64]:
    """Standard deviation of each column under STRONG."""

    def bit(p: float) -> float:
        return math.sqrt(p * (1 - p))

    def sometimes(p: float, mean: float, square: float) -> float:
        """Of a variable with these moments, times a bit of probability p."""
        return math.sqrt(p * square - (p * mean) ** 2)

    def log_moments(low: float, high: float) -> tuple[float, float]:
        """E[log t] and E[log^2 t] for t uniform between low and high."""

        def first(t: float) -> float:
            return t * math.log(t) - t

        def second(t: float) -> float:
            return t * math.log(t) ** 2 - 2 * first(t)

        span = high - low
        return (first(high) - first(low)) / span, (second(high) - second(low)) / span

    span = 1 - STRONG.smallest
    fits = math.exp(-ASPECT)  # at larger areas the canvas, not ASPECT, bounds the aspect
    bound_square = (fits - STRONG.smallest) * ASPECT**2 + (1 - fits) * log_moments(fits, 1)[1]
    factor = sometimes(STRONG.jitter, *log_moments(*FACTOR))
    low, high = SIGMA
    blur_mean, blur_square = (low + high) / 2, (low**2 + low * high + high**2) / 3
    of_column = {
        "area": span / math.sqrt(12),
        "aspect": math.sqrt(bound_square / span / 3),
        "x": 1 / math.sqrt(3),
        "y": 1 / math.sqrt(3),
        "flip": 0.5,
        "jittered": bit(STRONG.jitter),
        "brightness": factor,
        "contrast": factor,
        "saturation": factor,
        "hue": sometimes(STRONG.jitter, 0.0, HUE**2 / 3),
        "grey": bit(STRONG.grey),
        "blurred": bit(STRONG.blur),
        "sigma": sometimes(STRONG.blur, blur_mean, blur_square),
    }
    return np.array([of_column[name] for name in NAMES])


DEVIATIONS = _deviations()
"""(WIDTH,) float64: what the columns of the vector are divided by."""


# ---- applying ------------------------------------------------------------------------------------
# Inside, pictures are (n, H, 3, W) float32 in 0 .. 255: rows and columns are then mixed by one plain
# batched matrix product each. Index and `where` kernels are slow on the CPU, hence what avoids them.


def apply(pixels: NDArray[np.uint8], transform: Transform, size: int) -> NDArray[np.uint8]:
    """The views, (n, 3, size, size) uint8, of `pixels` (n, 3, H, W) uint8 under n transforms.

    A canvas that is not square is first cropped to its central square. Crops are resampled with an
    antialiased triangle filter (Pillow's bilinear); what a box sees beyond the canvas repeats the
    border. One thread, whatever the caller's setting, so the bits don't depend on it.
    """
    import torch

    assert len(pixels) == len(transform), "one transform a picture"
    if len(pixels) == 0:
        return np.zeros((0, 3, size, size), np.uint8)
    with _one_thread():
        x = _cropped(torch.from_numpy(_square(pixels)), transform, size)
        _jitter(x, transform)
        _blur(x, transform)
        views = x.add_(0.5).clamp_(0, 255).to(torch.uint8)  # the cast cuts: half rounds up
        return views.permute(0, 2, 1, 3).contiguous().numpy()


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[:, :, top : top + side, left : left + side])
    return square if square.flags.writeable else square.copy()  # torch wants what it could write


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
    extent: NDArray[np.float64], position: Float32, side: int, size: int, flip: Float32 | None = None
) -> Tensor:
    """(n, size, side) float32: how the pixels of one axis of the canvas mix into the view's."""
    import torch

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
    """Brightness, contrast, saturation, hue, then grey, in place; each result clipped to 0 .. 255."""
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
    import torch

    return torch.from_numpy(np.flatnonzero(mask))


def _column(values: NDArray[np.float64]) -> Tensor:
    import torch

    return torch.from_numpy(values).float()[:, None, None, None]


def _luma(x: Tensor) -> Tensor:
    """(n, H, 1, W): ITU-R 601 grey."""
    return 0.299 * x[:, :, :1] + 0.587 * x[:, :, 1:2] + 0.114 * x[:, :, 2:]


def _turned(x: Tensor, sixths: Tensor) -> Tensor:
    """Hue turned by `sixths` (n, 1, 1, 1) of a circle, HSV saturation and value kept."""
    import torch

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
    import torch

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
