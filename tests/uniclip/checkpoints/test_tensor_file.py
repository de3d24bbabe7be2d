"""A tensor file is read bit for bit or refused."""

from __future__ import annotations

import pytest
import safetensors
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
METADATA = {"counters": {"step": 3, "seconds": 0.1}, "word": "x"}


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    bits = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


def test_tensors_and_metadata_round_trip_bit_for_bit(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(tensor_file.encode(TENSORS, METADATA))
    tensors, metadata = tensor_file.decode(path)
    assert metadata == METADATA
    assert tensors.keys() == TENSORS.keys()
    assert all(_same(tensors[name], TENSORS[name]) for name in TENSORS)


def test_tensors_written_one_by_one_are_those_of_encode(tmp_path):
    """Safetensors reads them, and both files have the same checksum."""
    tensors = {name: value.contiguous() for name, value in TENSORS.items()}
    path, encoded_path = tmp_path / "written", tmp_path / "encoded"
    with open(path, "wb") as stream:
        size = tensor_file.write_tensors(stream, tensors, METADATA)
    assert size == path.stat().st_size
    encoded_path.write_bytes(tensor_file.encode(TENSORS, METADATA))
    (loaded, metadata), (expected, _) = map(tensor_file.decode, (path, encoded_path))
    assert loaded.keys() == expected.keys()
    for name, value in expected.items():
        assert _same(loaded[name], value)
    assert metadata == METADATA
    headers = [read_header(p) for p in (path, encoded_path)]
    assert headers[0] == headers[1]


def read_header(path):
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata()


def test_every_dtype_of_a_checkpoint_can_be_written(tmp_path):
    tensors = {str(dtype): torch.ones(3, dtype=dtype) for dtype in tensor_file.DTYPE_NAMES}
    with open(tmp_path / "file", "wb") as stream:
        tensor_file.write_tensors(stream, tensors, {})
    loaded, _ = tensor_file.decode(tmp_path / "file")
    assert {name: value.dtype for name, value in loaded.items()} == {
        str(dtype): dtype for dtype in tensor_file.DTYPE_NAMES
    }


def test_bytes_depend_on_the_content_only():
    reordered = {name: TENSORS[name].clone() for name in reversed(TENSORS)}
    assert tensor_file.encode(reordered, dict(reversed(METADATA.items()))) == tensor_file.encode(
        TENSORS, METADATA
    )
    assert tensor_file.encode(TENSORS, {**METADATA, "word": "y"}) != tensor_file.encode(
        TENSORS, METADATA
    )


def test_any_changed_byte_is_detected(tmp_path):
    data = tensor_file.encode(TENSORS, METADATA)
    path = tmp_path / "file"
    spaces = 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            tensors, metadata = tensor_file.decode(path)
        except tensor_file.CorruptFileError:
            continue
        # What passes must be what was written (bytes of no meaning, such as padding).
        spaces += 1
        assert metadata == METADATA
        assert all(_same(tensors[name], TENSORS[name]) for name in TENSORS)
    assert spaces < 16


def test_any_truncation_is_detected(tmp_path):
    data = tensor_file.encode(TENSORS, METADATA)
    path = tmp_path / "file"
    for length in [*range(0, 40), *range(40, len(data), 13), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(tensor_file.CorruptFileError):
            tensor_file.decode(path)


def test_a_pickle_and_other_safetensors_files_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickle")
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    for name in ("pickle", "foreign"):
        with pytest.raises(tensor_file.CorruptFileError):
            tensor_file.decode(tmp_path / name)


def test_a_missing_file_is_not_corrupt(tmp_path):
    with pytest.raises(FileNotFoundError):
        tensor_file.decode(tmp_path / "none")


def test_optimizer_state_round_trips(tmp_path):
    def build() -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
        torch.manual_seed(0)
        modules = nn.ModuleDict({"embedder": nn.Linear(5, 7), "method": nn.Linear(1, 3)})
        fast = list(modules["method"].parameters())
        return modules, optimizer.build_optimizer(modules, fast, TrainConfig())

    def step(modules, original_optimizer, seed) -> None:
        torch.manual_seed(seed)
        for parameter in modules["embedder"].parameters():  # the method's have no state at all
            parameter.grad = torch.randn_like(parameter)
        original_optimizer.step()

    modules, original_optimizer = build()
    step(modules, original_optimizer, 1)
    state = {**modules.state_dict(), **tensor_file.flatten_optimizer_state(original_optimizer)}
    (tmp_path / "file").write_bytes(tensor_file.encode(state, {}))
    restored, restored_optimizer = build()
    tensors, _ = tensor_file.decode(tmp_path / "file")
    restored.load_state_dict({name: tensors[name] for name in restored.state_dict()})
    tensor_file.restore_optimizer(restored_optimizer, tensors)
    step(modules, original_optimizer, 2)
    step(restored, restored_optimizer, 2)
    assert all(_same(a, b) for a, b in zip(modules.parameters(), restored.parameters()))
    assert tensor_file.flatten_optimizer_state(original_optimizer).keys() == {
        f"optimizer.{quantity}.embedder.{name}"
        for quantity in ("step", "exp_avg", "exp_avg_sq")
        for name in ("weight", "bias")
    }
