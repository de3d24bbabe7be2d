"""A checkpoint comes back bit for bit or not at all."""

from __future__ import annotations

import os
import resource

import pytest
import torch
from torch import nn

from tests.helpers.small_runs import claimed
from uniclip.checkpoints import tensor_file
from uniclip.config import TrainConfig
from uniclip.errors import UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import Store
from uniclip.training import checkpoint, optimizer

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


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


def test_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(tensor_file.encode(TENSORS, FACTS))
    tensors, facts = tensor_file.decode(path)
    assert facts == FACTS
    assert tensors.keys() == TENSORS.keys()
    assert all(_same(tensors[name], TENSORS[name]) for name in TENSORS)


def test_bytes_are_a_function_of_the_content():
    turned = {name: TENSORS[name].clone() for name in reversed(TENSORS)}
    assert tensor_file.encode(turned, dict(reversed(FACTS.items()))) == tensor_file.encode(
        TENSORS, FACTS
    )
    assert tensor_file.encode(TENSORS, {**FACTS, "word": "y"}) != tensor_file.encode(TENSORS, FACTS)


def test_any_flipped_byte_is_noticed(tmp_path):
    whole = tensor_file.encode(TENSORS, FACTS)
    path = tmp_path / "file"
    spaces = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            tensors, facts = tensor_file.decode(path)
        except tensor_file.CorruptFileError:
            continue
        # What passes must be what was written (bytes of no meaning, such as padding).
        spaces += 1
        assert facts == FACTS
        assert all(_same(tensors[name], TENSORS[name]) for name in TENSORS)
    assert spaces < 16


def test_any_cut_is_noticed(tmp_path):
    whole = tensor_file.encode(TENSORS, FACTS)
    path = tmp_path / "file"
    for length in [*range(0, 40), *range(40, len(whole), 13), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(tensor_file.CorruptFileError):
            tensor_file.decode(path)


def test_a_pickle_and_a_foreign_file_are_damaged_and_not_run(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle")
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    for name in ("pickle", "foreign"):
        with pytest.raises(tensor_file.CorruptFileError):
            tensor_file.decode(tmp_path / name)


def test_no_file_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        tensor_file.decode(tmp_path / "none")


def test_optimizer_state_survives(tmp_path):
    def made() -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
        torch.manual_seed(0)
        modules = nn.ModuleDict({"embedder": nn.Linear(5, 7), "method": nn.Linear(1, 3)})
        fast = list(modules["method"].parameters())
        return modules, optimizer.build_optimizer(modules, fast, TrainConfig())

    def step(modules, built, seed) -> None:
        torch.manual_seed(seed)
        for parameter in modules["embedder"].parameters():  # the method's have no state at all
            parameter.grad = torch.randn_like(parameter)
        built.step()

    modules, built = made()
    step(modules, built, 1)
    state = {**modules.state_dict(), **tensor_file.flatten_optimizer_state(built)}
    (tmp_path / "file").write_bytes(tensor_file.encode(state, {}))
    again, rebuilt = made()
    tensors, _ = tensor_file.decode(tmp_path / "file")
    again.load_state_dict({name: tensors[name] for name in again.state_dict()})
    tensor_file.restore_optimizer(rebuilt, tensors)
    step(modules, built, 2)
    step(again, rebuilt, 2)
    assert all(_same(a, b) for a, b in zip(modules.parameters(), again.parameters()))
    assert tensor_file.flatten_optimizer_state(built).keys() == {
        f"optimizer.{quantity}.embedder.{name}"
        for quantity in ("step", "exp_avg", "exp_avg_sq")
        for name in ("weight", "bias")
    }


# ---- the checkpoints of a run ----------------------------------------------------------------


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
