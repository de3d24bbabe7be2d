"""Batches on their device, and the time that training waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.helpers import csv_data
from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import equal_weights, get_weights, stop_after
from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip.data.batch import Batch
from uniclip.training import batch_feed
from uniclip.training.batch_feed import BatchFeed
from uniclip.training.trainer import setup_training, train_model

CPU = torch.device("cpu")


def test_batches_are_those_of_the_loader_and_the_wait_is_counted() -> None:
    batches, _ = setup_training(tiny())
    feed = BatchFeed(batches, 1, 4, CPU)
    assert feed.waited_seconds == 0
    waited = []
    for step, batch in zip((1, 2, 3), feed, strict=True):
        assert torch.equal(batch.images, batches.build_batch(step).images)
        waited.append(feed.waited_seconds)
    assert 0 < waited[0] < waited[1] < waited[2]


def test_views_made_on_the_device_give_the_same_weights_after_a_resume(tmp_path: Path) -> None:
    """Of photographs, made of the same parameters; also where batches are embedded in chunks."""
    csv_data.write_csv(tmp_path, [(f"{i}.jpg", f"picture {i}", "a") for i in range(24)])
    for i in range(24):
        Image.fromarray(draw_photograph(40 + i, 64 - i)).save(tmp_path / f"{i}.jpg")
    sections: dict[str, Any] = {
        "data": {"name": "csv", "path": str(tmp_path / "data.csv"), "image_size": 32},
        "train": {"steps": 4, "batch_size": 8, "grad_cache_chunks": 2},
    }
    expected = train_model(tiny(**sections))
    config = tiny(**sections, views={"made_on": "device"})
    run = opened(tmp_path / "store", config)
    train_model(config, attempt=claimed(run), stop=stop_after(2))
    resumed = train_model(config, attempt=claimed(run))
    assert equal_weights(get_weights(resumed), get_weights(expected))


def test_only_the_time_in_the_loader_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(batch_feed.time, "perf_counter", lambda: clock[0])
    batches, _ = setup_training(tiny())

    def load(start: int, stop: int, device: torch.device) -> Iterator[Batch]:
        for step in range(start, stop):
            clock[0] += 3
            yield batches.build_batch(step)

    monkeypatch.setattr(batches, "iterate_batches", load)
    feed = BatchFeed(batches, 0, 2, CPU)
    for _ in feed:
        clock[0] += 5  # the step
    assert feed.waited_seconds == 6


class FakeStream:
    """A CUDA stream that notes what is enqueued, under its name."""

    def __init__(self, calls: list[tuple[Any, ...]], name: str) -> None:
        self.calls, self.name = calls, name

    def wait_event(self, event: FakeEvent) -> None:
        self.calls.append((self.name, "waits for copy", event.number))


class FakeEvent:
    number = 0

    def record(self, stream: FakeStream) -> None:
        FakeEvent.number += 1
        self.number = FakeEvent.number
        stream.calls.append((stream.name, "copied", self.number))


def test_on_a_gpu_the_next_batch_is_copied_on_another_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The order of operations, without a GPU: step n computes while batch n + 1 is copied."""
    calls: list[tuple[Any, ...]] = []
    current = ["main"]

    @contextlib.contextmanager
    def use(stream: FakeStream) -> Iterator[None]:
        previous, current[0] = current[0], stream.name
        yield
        current[0] = previous

    monkeypatch.setattr(FakeEvent, "number", 0)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(calls, "side"))
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "stream", use)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream(calls, "main"))
    monkeypatch.setattr(
        Batch, "record_stream", lambda batch, stream: calls.append((stream.name, "keeps", None))
    )
    batches, _ = setup_training(tiny())

    def load(start: int, stop: int, device: torch.device) -> Iterator[Batch]:
        assert device.type == "cuda"
        for step in range(start, stop):
            calls.append((current[0], "copy", step + 1))
            yield batches.build_batch(step)

    monkeypatch.setattr(batches, "iterate_batches", load)
    for number, batch in enumerate(BatchFeed(batches, 0, 3, torch.device("cuda")), 1):
        assert torch.equal(batch.images, batches.build_batch(number - 1).images)
        calls.append((current[0], "step", number))
    side = [call for call in calls if call[0] == "side"]
    assert [call[1:] for call in side if call[1] == "copy"] == [("copy", n) for n in (1, 2, 3)]
    for n in (1, 2, 3):
        step = calls.index(("main", "step", n))
        assert calls[step - 2 : step] == [("main", "waits for copy", n), ("main", "keeps", None)]
        if n < 3:
            assert calls.index(("side", "copy", n + 1)) < step
        if n < 2:
            assert step < calls.index(("side", "copy", n + 2)), "no more than two on the device"
