"""Views with their augmentation vectors beside torchvision and albumentations, on one thread.

The sides take turns in one run, and each reports the fastest of its rounds in CPU time: the speed
of a shared machine changes. albumentations is no dependency: it takes part if it can be imported.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torchvision.io import decode_jpeg
from torchvision.transforms import v2

from tests.benchmarks.table import Options, Table
from uniclip import numerics, rng
from uniclip.augmentation import apply, transform
from uniclip.augmentation.packed_views import pack_views
from uniclip.data.image_files import read_photograph

NUM_IMAGES, SOURCE_SIZE, VIEW_SIZE, ROUNDS = 128, 64, 32, 5
NUM_PHOTOGRAPHS, PHOTOGRAPH_VIEW_SIZE = (48, 4), 224
"""JPEGs of a round: in full, and quick."""
BLUR_TAPS = 13
"""Width of the peers' kernel: three of the largest standard deviation, 2 px, to either side."""

Side = Callable[[], object]


def time_sides(sides: dict[str, Side]) -> dict[str, float]:
    """Return the CPU seconds of the fastest of `ROUNDS` calls, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS + 1):
        for name, side in sides.items():
            start = time.process_time()
            side()
            seconds[name].append(time.process_time() - start)
    return {name: min(rounds[1:]) for name, rounds in seconds.items()}


def build_row(what: str, sides: dict[str, Side], per: int = 1) -> dict[str, Any]:
    """Return a row of the table: milliseconds of each side, and ratios to the first."""
    seconds = time_sides(sides)
    first, *peers = seconds
    row: dict[str, Any] = {"what": what}
    row |= {f"{name}, ms": 1e3 * value / per for name, value in seconds.items()}
    return row | {f"{peer} / {first}": seconds[peer] / seconds[first] for peer in peers}


def build_strong_peer(size: int, blur_taps: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return torchvision's operations of a strong view."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, (0.2, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(blur_taps, (0.1, 2))], 0.5),
        ]
    )


def compare_small_views() -> dict[str, Any]:
    """Return the row of strong views of a batch of small images; torchvision's are one by one."""
    shape = (NUM_IMAGES, 3, SOURCE_SIZE, SOURCE_SIZE)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ids = np.arange(NUM_IMAGES, dtype=np.uint64)
    peer, tensors = build_strong_peer(VIEW_SIZE, 3), torch.from_numpy(pixels)

    def make_views() -> None:
        params = transform.sample_strong(rng.derive_key("bench"), ids)
        apply.apply_augmentation(pixels, params, VIEW_SIZE)
        transform.encode_as_vector(params)

    return build_row(
        f"{NUM_IMAGES} strong views, {SOURCE_SIZE} to {VIEW_SIZE} px",
        {"uniclip": make_views, "torchvision v2": lambda: [peer(image) for image in tensors]},
    )


# ---- photographs ---------------------------------------------------------------------------------


def encode_photographs(n: int) -> list[bytes]:
    """Return JPEGs of 500 x 375 px with shapes and noise, about 75 kB each, as photographs have."""
    random, encoded = np.random.default_rng(0), []
    for _ in range(n):
        shapes = np.clip(128 + 40 * random.normal(size=(48, 64, 3)), 0, 255).astype(np.uint8)
        image = Image.fromarray(shapes).resize((500, 375), Image.Resampling.BICUBIC)
        noisy = np.asarray(image) + 8 * random.normal(size=(375, 500, 3))
        stream = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    return encoded


def make_photograph_views(encoded: list[bytes], num_strong: int) -> None:
    """Make what a training batch of these images takes: decoding, views and vectors."""
    size, ids = PHOTOGRAPH_VIEW_SIZE, np.arange(len(encoded), dtype=np.uint64)
    photographs = [read_photograph(io.BytesIO(content), size) for content in encoded]
    all_params = [transform.sample_weak(rng.derive_key("weak"), ids)]
    all_params += [transform.sample_strong(rng.derive_key("s", i), ids) for i in range(num_strong)]
    for params in all_params:
        apply.apply_augmentation(photographs, params, size)
        transform.encode_as_vector(params)


def build_decoder() -> tuple[str, Callable[[bytes], object]]:
    """Return the fastest decoder of JPEGs that can be imported, and its name."""
    try:
        from simplejpeg import decode_jpeg as decode
    except ImportError:
        return "torchvision's decoder", lambda content: decode_jpeg(
            torch.frombuffer(bytearray(content), dtype=torch.uint8)
        )
    return "simplejpeg", decode


def pack_photographs(encoded: list[bytes], num_strong: int) -> None:
    """Make what a data worker gives to a device that makes the views, with their vectors."""
    size, ids = PHOTOGRAPH_VIEW_SIZE, np.arange(len(encoded), dtype=np.uint64)
    photographs = [read_photograph(io.BytesIO(content), size) for content in encoded]
    all_params = [transform.sample_weak(rng.derive_key("weak"), ids)]
    all_params += [transform.sample_strong(rng.derive_key("s", i), ids) for i in range(num_strong)]
    for params in all_params:
        transform.encode_as_vector(params)
    pack_views(photographs, all_params, size)


def compare_packing(num_photographs: int) -> dict[str, Any]:
    """Return the row of what is left to a data worker with views.made_on=device, per image."""
    encoded = encode_photographs(num_photographs)
    name, decode = build_decoder()
    sides: dict[str, Side] = {
        name: lambda: [decode(content) for content in encoded],
        "uniclip": lambda: pack_photographs(encoded, 2),
    }
    what = "decode and pack for 3 views of a device, JPEG of 500 x 375, an image"
    return build_row(what, sides, per=num_photographs)


def build_torchvision_views(encoded: list[bytes], num_strong: int) -> Side:
    """Return the same with torchvision."""
    weak = v2.RandomResizedCrop(PHOTOGRAPH_VIEW_SIZE, (0.5, 1), antialias=True)
    strong = build_strong_peer(PHOTOGRAPH_VIEW_SIZE, BLUR_TAPS)
    contents = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in encoded]

    def make_views() -> None:
        for content in contents:
            image = decode_jpeg(content)
            weak(image)
            for _ in range(num_strong):
                strong(image)

    return make_views


def build_albumentations_views(
    encoded: list[bytes], num_strong: int, *, is_antialiased: bool
) -> Side | None:
    """Return the same with albumentations and OpenCV, if they can be imported.

    Its default reads four neighbours of each pixel, however much a crop shrinks; antialiased, as
    the other sides are, it takes means over areas where a crop shrinks.
    """
    try:
        import albumentations as A  # noqa: N812  as its documentation has it
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    size = (PHOTOGRAPH_VIEW_SIZE, PHOTOGRAPH_VIEW_SIZE)
    area: Literal["image"] | None = "image" if is_antialiased else None
    weak = A.RandomResizedCrop(size=size, scale=(0.5, 1), area_for_downscale=area, p=1)
    strong = A.Compose(
        [
            A.RandomResizedCrop(size=size, scale=(0.2, 1), area_for_downscale=area, p=1),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=(BLUR_TAPS, BLUR_TAPS), sigma_limit=(0.1, 2), p=0.5),
        ]
    )

    def make_views() -> None:
        for content in encoded:
            bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            weak(image=image)
            for _ in range(num_strong):
                strong(image=image)

    return make_views


def compare_photograph_views(num_photographs: int, num_strong: int) -> dict[str, Any]:
    """Return the row of decoding, a weak view and some strong views, per image."""
    encoded = encode_photographs(num_photographs)
    sides: dict[str, Side] = {
        "uniclip": lambda: make_photograph_views(encoded, num_strong),
        "torchvision v2": build_torchvision_views(encoded, num_strong),
    }
    for name, is_antialiased in (
        ("albumentations", True),
        ("albumentations without antialiasing", False),
    ):
        views = build_albumentations_views(encoded, num_strong, is_antialiased=is_antialiased)
        if views is not None:
            sides[name] = views
    sides["decoding alone"] = lambda: [
        read_photograph(io.BytesIO(content), PHOTOGRAPH_VIEW_SIZE) for content in encoded
    ]
    what = f"weak + {num_strong} strong view{'s' * (num_strong > 1)}"
    what = f"decode + {what}, JPEG of 500 x 375 to {PHOTOGRAPH_VIEW_SIZE} px, an image"
    return build_row(what, sides, per=num_photographs)


def run(options: Options) -> Table:
    """Return the table of this subject; it takes half a minute, seconds with --quick."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    numerics.keep_freed_memory()  # as in training
    num_photographs = NUM_PHOTOGRAPHS[options.quick]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        rows = [
            compare_small_views(),
            *(compare_photograph_views(num_photographs, n) for n in (1, 2)),
            compare_packing(num_photographs),
        ]
    torch.set_num_threads(threads)
    return Table("views", rows, {"width of the peers' blur at 224 px": f"{BLUR_TAPS} px"})
