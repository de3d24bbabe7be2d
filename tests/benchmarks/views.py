"""Strong views with their augmentation vectors, compared with torchvision, on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms import v2

from tests.benchmarks.table import Options, Table
from uniclip import rng
from uniclip.augmentation import apply, transform

NUM_IMAGES, SOURCE_SIZE, VIEW_SIZE, ROUNDS = 128, 64, 32, 5


def time_fastest(action: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest of `ROUNDS` calls, after one that does not count."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds[1:])


def time_strong_views() -> tuple[float, float]:
    """Return the seconds for strong views of a batch: uniclip's, and torchvision's one by one."""
    shape = (NUM_IMAGES, 3, SOURCE_SIZE, SOURCE_SIZE)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    ids = np.arange(NUM_IMAGES, dtype=np.uint64)
    peer = v2.Compose(
        [
            v2.RandomResizedCrop(VIEW_SIZE, (0.2, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2))], 0.5),
        ]
    )

    def make_views() -> None:
        params = transform.sample_strong(rng.derive_key("bench"), ids)
        apply.apply_augmentation(pixels, params, VIEW_SIZE)
        transform.encode_as_vector(params)

    tensors = torch.from_numpy(pixels)
    return time_fastest(make_views), time_fastest(lambda: [peer(image) for image in tensors])


def run(options: Options) -> Table:
    """Return the table of this subject; it takes seconds with or without --quick."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    uniclip_seconds, peer_seconds = time_strong_views()
    torch.set_num_threads(threads)
    sizes = f"{SOURCE_SIZE} to {VIEW_SIZE} px"
    row = {
        "what": f"{NUM_IMAGES} strong views, {sizes} (peer: torchvision v2)",
        "uniclip, ms": 1e3 * uniclip_seconds,
        "peer, ms": 1e3 * peer_seconds,
        "peer / uniclip": peer_seconds / uniclip_seconds,
    }
    return Table("views", [row], {})
