"""Images of an evaluation, decoded by processes while the model embeds those before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from uniclip.errors import UserError

Pixels = NDArray[np.uint8]
LoadImages = Callable[[NDArray[np.int64]], Pixels]
"""Returns the images at some indices (m,), shape (m, 3, H, W); it depends on nothing else."""

MIN_IMAGES = 512
"""Fewer images are decoded by this process: starting others takes longer."""

_load_images: LoadImages | None = None
"""What a decoding process was started with."""


@contextmanager
def decode_ahead(load: LoadImages, num_images: int, num_workers: int) -> Iterator[LoadImages]:
    """Yield a function that returns what `load` does, from processes that work ahead.

    Batches are asked for in their order as a rule: while the caller uses one, the next one, of the
    same length, is decoded. What is asked for out of order is right too, and takes longer.

    Args:
        load: Loads images. The processes are forked, so that it need not be picklable.
        num_images: Number of images; the next batch ends with the last one.
        num_workers: Number of processes; 0 = `load` itself.
    """
    if num_workers == 0 or num_images < MIN_IMAGES:
        yield load
        return
    executor = ProcessPoolExecutor(num_workers, get_context("fork"), _start_worker, (load,))
    try:
        yield _Decoder(executor, num_images, num_workers).load
    finally:
        executor.shutdown(cancel_futures=True)


class _Decoder:
    """Divides batches among the processes, and keeps the parts of the batch that comes next."""

    def __init__(self, executor: ProcessPoolExecutor, num_images: int, num_workers: int) -> None:
        self._executor, self._num_images = executor, num_images
        self._num_workers = num_workers
        self._next_index = np.empty(0, np.int64)
        self._next_parts: list[Future[Pixels]] = []

    def load(self, index: NDArray[np.int64]) -> Pixels:
        """Return the images at `index`.

        Raises:
            UserError: As the function that loads them, or a process was killed.
        """
        try:
            is_expected = np.array_equal(index, self._next_index)
            parts = self._next_parts if is_expected else self._submit(index)
            following = np.arange(index[-1] + 1, index[-1] + 1 + len(index))
            self._next_index = following[following < self._num_images]
            self._next_parts = self._submit(self._next_index)
            return np.concatenate([part.result() for part in parts])
        except BrokenProcessPool:
            raise UserError(
                "a process that decodes images was killed, perhaps for its memory; "
                "runtime.num_workers=0 decodes without processes"
            ) from None

    def _submit(self, index: NDArray[np.int64]) -> list[Future[Pixels]]:
        parts = np.array_split(index, min(self._num_workers, len(index)) or 1)
        return [self._executor.submit(_load_in_worker, part) for part in parts if len(part)]


def _start_worker(load: LoadImages) -> None:
    global _load_images
    _load_images = load


def _load_in_worker(index: NDArray[np.int64]) -> Pixels:
    assert _load_images is not None
    return _load_images(index)
