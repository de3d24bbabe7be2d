"""A tensor file is read bit for bit or refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uniclip.checkpoints import tensor_file
from uniclip.config import TrainConfig
from uniclip.training import optimizer

TENSORS = {
    "embedder.weight": torch.tensor([[1.5, -0.0, float("nan")], [float("inf"), 1e-42, 3.0]]),
    "method.scale": torch.tensor(2.0),
    "half": torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16),
    "count": torch.tensor([2**62], dtype=torch.int64),
    "empty": torch.zeros(0, 3),
    "strided": torch.arange(6.0).view(2, 3).t(),
}
FACTS = {"counters": {"step": 3, "seconds": 0.1}, "word": "x"}


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
