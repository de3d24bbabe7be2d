"""Samples of the use of the machine: what is measured, how often, and that nothing can fail."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from tests.helpers import fake_sweep
from uniclip.store import Store
from uniclip.training import resource_usage
from uniclip.training.resource_usage import ResourceSampler


class Clock:
    """A clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(resource_usage.time, "monotonic", lambda: self.now)


def test_cpu_and_memory_of_the_process_are_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = Clock(monkeypatch), Store(tmp_path)
    sampler = ResourceSampler(fake_sweep.begin(store, "0123456789abcdef"))
    for _ in range(3):
        sampler.sample()
        sampler.sample()  # too early
        clock.now += resource_usage.MIN_INTERVAL_S
    first, second, third = store.get_run("0123456789abcdef").read_usage()
    assert set(first) == {"time", "memory_bytes"}
    assert 1e6 < first["memory_bytes"] < 1e12
    assert set(second) == set(third) == {"time", "memory_bytes", "cpu_percent"}
    assert second["cpu_percent"] >= 0


def test_a_month_has_few_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, store = Clock(monkeypatch), Store(tmp_path)
    sampler = ResourceSampler(fake_sweep.begin(store, "0123456789abcdef"))
    num_samples = 0

    def count(*_: object) -> None:
        nonlocal num_samples
        num_samples += 1

    monkeypatch.setattr(resource_usage, "append_jsonl", count)
    monkeypatch.setattr(resource_usage, "_measure_processes", lambda: (0.0, 0.0))
    for _ in range(30 * 24 * 3600 // 5):
        sampler.sample()
        clock.now += 5
    assert 1000 < num_samples < 4000


def test_a_gpu_is_sampled_by_nvml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    nvml = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetUtilizationRates=lambda handle: types.SimpleNamespace(gpu=97),
        nvmlDeviceGetMemoryInfo=lambda handle: types.SimpleNamespace(used=5_000_000_000),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(resource_usage, "_get_gpu_uuid", lambda device: "GPU-1")
    store = Store(tmp_path)
    ResourceSampler(fake_sweep.begin(store, "0123456789abcdef"), "cuda").sample()
    (sample,) = store.get_run("0123456789abcdef").read_usage()
    assert (sample["gpu_percent"], sample["gpu_memory_bytes"]) == (97.0, 5e9)


def test_training_goes_on_without_nvml_or_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = Clock(monkeypatch), Store(tmp_path)
    ResourceSampler(None).sample()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    sampler = ResourceSampler(fake_sweep.begin(store, "0123456789abcdef"), "cuda")
    sampler.sample()
    assert len(store.get_run("0123456789abcdef").read_usage()) == 1

    def raise_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resource_usage, "append_jsonl", raise_full)
    clock.now += 100
    sampler.sample()


def test_a_superseded_attempt_writes_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run was moved aside, and may have been claimed anew by another process."""
    clock, store = Clock(monkeypatch), Store(tmp_path)
    run = store.get_run("0123456789abcdef")
    attempt = fake_sweep.begin(store, run.id)
    sampler = ResourceSampler(attempt)
    sampler.sample()
    run.path.rename(tmp_path / "aside")
    clock.now += 100
    sampler.sample()
    assert not run.path.exists()
    fake_sweep.begin(store, run.id, time=5.0)
    clock.now += 100
    sampler.sample()
    assert not attempt.usage_path.exists()
    assert len((tmp_path / "aside/attempts/1/usage.jsonl").read_text().splitlines()) == 1
