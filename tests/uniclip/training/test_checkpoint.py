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
FACTS = {"counters": {"step": 3, "seconds": 0.1}, "word": "x"}


@pytest.fixture
def run(tmp_path):
    return Store(tmp_path).get_run("0" * 16)


def _write(attempt, step) -> None:
    checkpoint.write_checkpoint(attempt, step, {"x": torch.tensor([float(step)])}, {"step": step})


def _found(attempt) -> int | None:
    found = checkpoint.load_newest_checkpoint(attempt)
    return None if found is None else found.metadata["step"]


def test_the_newest_two_are_kept(run):
    attempt = claimed(run)
    for step in (1, 2, 9, 10):
        _write(attempt, step)
    assert sorted(p.name for p in attempt.checkpoints_path.iterdir()) == [
        "10.safetensors",
        "9.safetensors",
    ]
    assert _found(attempt) == 10


def test_what_nobody_resumes_from_any_more_goes(run):
    """However often a run is preempted, it keeps as much as one that never was."""
    for number in range(1, 6):
        attempt = claimed(run)
        steps = range(10 * number, 10 * number + (2 if number < 5 else 1))
        for step in steps:
            checkpoint.write_checkpoint(attempt, step, TENSORS, FACTS)
    kept = {
        n: [s for s, _ in checkpoint.list_checkpoints(run.get_attempt(n))]
        for n in run.list_attempts()
    }
    assert kept == {1: [], 2: [], 3: [], 4: [41, 40], 5: [50]}
    assert checkpoint.load_newest_checkpoint(attempt).path.name == "50.safetensors"


def test_nothing_to_resume_from(run):
    assert _found(claimed(run)) is None


def test_damage_is_passed_over_and_said(run):
    first = claimed(run)
    _write(first, 1)
    _write(first, 2)
    second = claimed(run)
    _write(second, 3)
    third = claimed(run)
    (second.checkpoints_path / "3.safetensors").write_bytes(b"not a checkpoint")
    (second.checkpoints_path / ".9.safetensors.1234").write_bytes(b"torn")
    path = first.checkpoints_path / "2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert _found(third) == 1
    said = [
        record
        for record in read_jsonl(third.events_path)
        if record["event"] == "checkpoint_damaged"
    ]
    assert [os.path.basename(record["path"]) for record in said] == [
        "3.safetensors",
        "2.safetensors",
    ]
    path.unlink()
    (first.checkpoints_path / "1.safetensors").unlink()
    assert _found(third) is None


def test_checkpoints_of_other_training_code_are_passed_over(run):
    _write(claimed(run, training="old"), 5)
    fresh = claimed(run, training="new")
    assert _found(fresh) is None
    assert read_jsonl(fresh.events_path)[0]["event"] == "checkpoint_of_other_code"


def test_an_attempt_does_not_look_at_newer_ones(run):
    first = claimed(run)
    _write(first, 1)
    _write(claimed(run), 2)
    assert _found(first) == 1


def test_a_full_disk_leaves_the_one_before(run):
    attempt = claimed(run)
    _write(attempt, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(UserError, match="could not be written .*: the run resumes"):
            _write(attempt, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in attempt.checkpoints_path.iterdir()] == ["1.safetensors"]
    assert _found(attempt) == 1
