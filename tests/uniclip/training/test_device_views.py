"""Training on two processes with views that are made on the device, which is the CPU here."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers import csv_data
from tests.helpers.distributed_training import (
    LEARNING_RATE,
    collect_results,
    run_in_processes,
    start_processes,
    train_configs,
)
from tests.helpers.small_runs import claimed, opened, tiny
from tests.helpers.training_runs import equal_weights
from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip import run
from uniclip.config import RunConfig
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder
from uniclip.training import checkpoint
from uniclip.training.trainer import train_model

NUM_IMAGES = 40
STOP_STEP = 4
"""Step after which rank 1 waits to be killed; two more follow."""


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """Runs on photographs of which a few have one size, in batches of unequal shares."""
    folder = tmp_path_factory.mktemp("photographs")
    csv_data.write_csv(folder, [(f"{i}.jpg", f"picture {i}", "a") for i in range(NUM_IMAGES)])
    for i in range(NUM_IMAGES):
        Image.fromarray(draw_photograph(40 + i % 24, 64 - i % 7)).save(folder / f"{i}.jpg")
    sections = {
        "data": {"name": "csv", "path": str(folder / "data.csv"), "image_size": 48},
        "train": {"steps": 6, "batch_size": 7, "grad_cache_chunks": 2, "validate_every": 3}
        | {"learning_rate": LEARNING_RATE},
        "runtime": {"checkpoint_seconds": 0, "log_every": 1, "num_workers": 0},
    }
    return {name: tiny(**sections, views={"made_on": name}) for name in ("cpu", "device")}


def test_two_processes_train_the_weights_of_views_made_by_data_workers(tmp_path, jobs):
    """Bit for bit on as many processes; up to the rounding of sums those of one process."""
    run_in_processes(2, train_configs, tmp_path, jobs)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert len(first["device"]["losses"]) == 6
    assert first["device"]["losses"] == first["cpu"]["losses"]
    assert equal_weights(first["device"]["weights"], first["cpu"]["weights"])
    assert equal_weights(first["device"]["weights"], second["device"]["weights"])
    alone = collect_results(train_model(jobs["device"]))
    torch.testing.assert_close(first["device"]["losses"], alone["losses"], rtol=1e-5, atol=1e-6)


def wait_to_be_killed() -> bool:
    time.sleep(1000)
    raise AssertionError("it was not killed")


def train_on_rank(rank: int, store: Path, config: RunConfig, stop_step: int) -> None:
    """Train; after `stop_step` rank 1 waits to be killed, and rank 0 for it."""
    calls = iter(range(1, 10**6))

    def stop() -> bool:
        return next(calls) == stop_step and wait_to_be_killed()

    if rank > 0:
        run.run_nonzero_rank(config, stop=stop)
        return
    folder = opened(store, config)
    attempt = claimed(folder)
    assert run.execute_run(folder, config, attempt, evaluations={}) == "trained"


def test_a_run_whose_processes_are_killed_resumes_bit_for_bit(tmp_path, jobs):
    config = jobs["device"]
    run_in_processes(2, train_on_rank, tmp_path / "whole", config, -1)
    whole, killed = (opened(tmp_path / name, config) for name in ("whole", "killed"))
    with start_processes(2, train_on_rank, tmp_path / "killed", config, STOP_STEP) as processes:
        end = time.monotonic() + 300
        while not has_checkpoint(killed, STOP_STEP - 1):
            assert time.monotonic() < end
            time.sleep(0.02)
        for process in processes:
            process.kill()
    assert not killed.weights_path.exists()
    run_in_processes(2, train_on_rank, tmp_path / "killed", config, -1)
    (resumed,) = [
        r for r in read_jsonl(killed.get_attempt(2).events_path) if r["event"] == "resumed"
    ]
    assert resumed["step"] >= STOP_STEP - 1
    assert killed.weights_path.read_bytes() == whole.weights_path.read_bytes()
    assert killed.best_weights_path.read_bytes() == whole.best_weights_path.read_bytes()


def has_checkpoint(folder: RunFolder, step: int) -> bool:
    """Return whether the first attempt has written the checkpoint of that step or a later one."""
    if not folder.list_attempts():
        return False
    return any(s >= step for s, _ in checkpoint.list_checkpoints(folder.get_attempt(1)))
