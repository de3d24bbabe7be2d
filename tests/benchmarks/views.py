"""Strong views with their vectors, beside torchvision, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import v2

from tests.benchmarks.table import Options, Table
from uniclip import rng
from uniclip.augmentation import apply, transform

PICTURES, CANVAS, SIZE, ROUNDS = 128, 64, 32, 5


def fastest(act: Callable[[], object]) -> float:
    """CPU seconds of the fastest of a few rounds, after one that is not counted."""
    seconds = []
    for _ in range(ROUNDS + 1):
        begun = time.process_time()
        act()
        seconds.append(time.process_time() - begun)
    return min(seconds[1:])


def strong_views() -> tuple[float, float]:
    """Seconds for a batch of strong views: ours with vectors, torchvision a picture at a time."""
    pixels = np.random.default_rng(0).integers(0, 256, (PICTURES, 3, CANVAS, CANVAS), np.uint8)
    ids = np.arange(PICTURES, dtype=np.uint64)
    peer = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, (0.2, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2))], 0.5),
        ]
    )

    def ours() -> None:
        params = transform.sample_strong(rng.derive_key("bench"), ids)
        apply.apply_augmentation(pixels, params, SIZE)
        transform.encode_as_vector(params)

    tensors = torch.from_numpy(pixels)
    return fastest(ours), fastest(lambda: [peer(picture) for picture in tensors])


def run(options: Options) -> Table:
    """The table of this subject; it is quick as it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours, peer = strong_views()
    torch.set_num_threads(threads)
    what = f"{PICTURES} strong views, {CANVAS} to {SIZE} px (peer: torchvision v2)"
    row = {"what": what, "ours, ms": 1e3 * ours, "peer, ms": 1e3 * peer, "peer / ours": peer / ours}
    return Table("views", [row], {})
