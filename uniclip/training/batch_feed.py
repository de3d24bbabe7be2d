"""The batches of a training on its device, and how long training waited for them.

With CUDA the next batch is copied on a stream of its own while the current step is computed; the
values are the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from uniclip.data.batch import Batch
from uniclip.data.loader import TrainingBatches


class BatchFeed:
    """Iterates over the batches of steps start .. stop - 1, on a device.

    Args:
        batches: The batches of the run.
        start: First step.
        stop: The step after the last.
        device: Where training computes.

    Attributes:
        waited_seconds: Wall seconds for which training waited for its batches so far. The device is
            not waited for to measure them.
    """

    def __init__(
        self, batches: TrainingBatches, start: int, stop: int, device: torch.device
    ) -> None:
        self.waited_seconds = 0.0
        self._device = device
        self._batches = batches.iterate_batches(start, stop, device)

    def __iter__(self) -> Iterator[Batch]:
        if self._device.type == "cuda":
            return self._iterate_ahead()
        return self._iterate()

    def _fetch(self) -> Batch | None:
        """Return the next batch; None after the last."""
        start = time.perf_counter()
        try:
            return next(self._batches, None)
        finally:
            self.waited_seconds += time.perf_counter() - start

    def _iterate(self) -> Iterator[Batch]:
        while (batch := self._fetch()) is not None:
            yield batch

    def _iterate_ahead(self) -> Iterator[Batch]:
        """Yield batches whose successor is being copied; at most two are on the device."""
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        fetched: tuple[Batch, torch.cuda.Event] | None = None
        while True:
            with torch.cuda.stream(stream):
                batch = self._fetch()
                copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record(stream)
            if fetched is not None:
                yield _hand_over(*fetched, torch.cuda.current_stream(self._device))
            if batch is None:
                return
            fetched = batch, copied


def _hand_over(batch: Batch, copied: torch.cuda.Event, stream: torch.cuda.Stream) -> Batch:
    """Let `stream` use a batch that another stream copies."""
    stream.wait_event(copied)
    batch.record_stream(stream)
    return batch
