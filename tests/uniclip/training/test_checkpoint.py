"""The checkpoints of a run: how many are kept, and which one a resume loads."""

from __future__ import annotations

import os
import resource

import pytest
import torch

from tests.helpers.small_runs import claimed
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import Store
from uniclip.training import checkpoint

TENSORS = {
    "embedder.weight": torch.tensor([[1.5, -0.0, float("nan")], [float("inf"), 1e-42, 3.0]]),
    "method.scale": torch.tensor(2.0),
    "half": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
    "count": torch.tensor([2**62], dtype=torch.int64),
    "empty": torch.zeros(0, 3),
    "strided": torch.arange(6.0).view(2, 3).t(),
}
METADATA = {"counters": {"step": 3, "seconds": 0.1}, "word": "x"}


@pytest.fixture
def run(tmp_path):
    return Store(tmp_path).get_run("0" * 16)


def write(attempt, step) -> None:
    checkpoint.write_checkpoint(attempt, step, {"x": torch.tensor([float(step)])}, {"step": step})


def load_step(attempt) -> int | None:
    newest = checkpoint.load_newest_checkpoint(attempt)
    return None if newest is None else newest.metadata["step"]


def test_the_newest_two_checkpoints_remain(run):
    attempt = claimed(run)
    for step in (1, 2, 9, 10):
        write(attempt, step)
    assert sorted(p.name for p in attempt.checkpoints_path.iterdir()) == [
        "10.safetensors",
        "9.safetensors",
    ]
    assert load_step(attempt) == 10


def test_checkpoints_of_earlier_attempts_are_deleted(run):
    """However often a run is preempted, it keeps as much as one that never was."""
    for number in range(1, 6):
        attempt = claimed(run)
        steps = range(10 * number, 10 * number + (2 if number < 5 else 1))
        for step in steps:
            checkpoint.write_checkpoint(attempt, step, TENSORS, METADATA)
    steps_by_attempt = {
        n: [s for s, _ in checkpoint.list_checkpoints(run.get_attempt(n))]
        for n in run.list_attempts()
    }
    assert steps_by_attempt == {1: [], 2: [], 3: [], 4: [41, 40], 5: [50]}
    assert checkpoint.load_newest_checkpoint(attempt).path.name == "50.safetensors"


def test_nothing_to_resume_from(run):
    assert load_step(claimed(run)) is None


def test_damaged_checkpoints_are_skipped_and_logged(run):
    first = claimed(run)
    write(first, 1)
    write(first, 2)
    second = claimed(run)
    write(second, 3)
    third = claimed(run)
    (second.checkpoints_path / "3.safetensors").write_bytes(b"not a checkpoint")
    (second.checkpoints_path / ".9.safetensors.1234").write_bytes(b"torn")
    path = first.checkpoints_path / "2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert load_step(third) == 1
    damaged = [
        record
        for record in read_jsonl(third.events_path)
        if record["event"] == "checkpoint_damaged"
    ]
    assert [os.path.basename(record["path"]) for record in damaged] == [
        "3.safetensors",
        "2.safetensors",
    ]
    path.unlink()
    (first.checkpoints_path / "1.safetensors").unlink()
    assert load_step(third) is None


def test_checkpoints_of_other_training_code_are_skipped(run):
    write(claimed(run, training="old"), 5)
    fresh = claimed(run, training="new")
    assert load_step(fresh) is None
    assert read_jsonl(fresh.events_path)[0]["event"] == "checkpoint_of_other_code"


def test_newer_attempts_are_ignored(run):
    first = claimed(run)
    write(first, 1)
    write(claimed(run), 2)
    assert load_step(first) == 1


def test_a_full_disk_leaves_the_previous_checkpoint(run):
    attempt = claimed(run)
    write(attempt, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="could not be written .*: the run resumes"):
            write(attempt, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in attempt.checkpoints_path.iterdir()] == ["1.safetensors"]
    assert load_step(attempt) == 1
