"""Tensors and metadata in one safetensors file with a checksum; nothing is unpickled.

Training checkpoints and weights are files of this format. The metadata and the checksum stand in
the header of the file under one key (the order of several keys is not fixed, and equal weights must
give equal files).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

METADATA_KEY = "uniclip"
OPTIMIZER_PREFIX = "optimizer."
OPTIMIZER_NUMBER_PREFIX = "optimizer_number."
OPTIMIZER_GROUP_PREFIX = "optimizer_group."
OPTIMIZER_GROUP_NUMBER_PREFIX = "optimizer_group_number."
DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names of dtypes in a safetensors file, of those that checkpoints have."""


class CorruptFileError(Exception):
    """A file that does not hold what was written to it."""


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> bytes:
    """Return the bytes of a file: a function of names, values and metadata alone.

    Args:
        tensors: On any device.
        metadata: Values that JSON can hold.
    """
    cpu_tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = _build_header(cpu_tensors, metadata)
    data: bytes = safetensors.torch.save(cpu_tensors, {METADATA_KEY: header})
    return data


def write_tensors(
    stream: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]
) -> int:
    """Write a file of this format tensor by tensor, and return its size in bytes.

    `encode` holds the interpreter lock while safetensors copies all tensors into one string. This
    function copies nothing, and other threads run while it computes the checksum and writes. The
    order of the tensors in the file may be another.

    Args:
        stream: A binary stream.
        tensors: On the CPU, contiguous; others are copied when they are taken, one at a time.
        metadata: Values that JSON can hold.
    """
    header = {METADATA_KEY: _build_header(tensors, metadata)}
    entries: dict[str, Any] = {"__metadata__": header}
    # Largest elements first: every tensor then starts at a multiple of its element size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    offset = 0
    for name in names:
        tensor, start = tensors[name], offset
        offset += tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, offset],
        }
    header_bytes = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    header_bytes += b" " * (-len(header_bytes) % 8)
    stream.write(len(header_bytes).to_bytes(8, "little"))
    stream.write(header_bytes)
    for name in names:
        stream.write(_view_bytes(tensors[name]))
    return 8 + len(header_bytes) + offset


def decode(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (on the CPU) and the metadata of the file at `path`.

    Raises:
        CorruptFileError: The file is not of this format, or its checksum does not match.
        FileNotFoundError: There is no file.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {})[METADATA_KEY])
        metadata, checksum = header["metadata"], header["checksum"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise CorruptFileError(f"{path}: {type(error).__name__}: {error}") from None
    if _compute_checksum(tensors, metadata) != checksum:
        raise CorruptFileError(f"{path}: the checksum does not match")
    return tensors, dict(metadata)


def _build_header(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    checksum = _compute_checksum(tensors, metadata)
    return json.dumps({"metadata": metadata, "checksum": checksum}, sort_keys=True)


def _compute_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> str:
    hasher = blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(_view_bytes(tensor))
    return hasher.hexdigest()


def _view_bytes(tensor: Tensor) -> memoryview:
    view: memoryview = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data
    return view


def bundle_modules(embedder: nn.Module, method: nn.Module) -> nn.ModuleDict:
    """Return the modules of a run; the keys of its state dict name the tensors in its files."""
    return nn.ModuleDict({"embedder": embedder, "method": method})


# ---- the state of an optimizer as named tensors -----------------------------------------------


def flatten_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as `optimizer.<quantity>.<parameter name>` -> tensor.

    Numbers that some optimizers keep, and values of whole groups, have prefixes of their own:
    `optimizer_number.<quantity>.<parameter name>` and `optimizer_group.<index>.<key>`.

    Raises:
        ValueError: The state holds something else.
    """
    flat: dict[str, Tensor] = {}
    state, names = optimizer.state_dict()["state"], _list_parameter_names(optimizer)
    for index, quantities in state.items():
        if not isinstance(index, int):
            raise ValueError(f"its state has an entry {index!r} of no parameter")
        for quantity, value in quantities.items():
            if value is not None:
                prefix, tensor = _encode_value(value, OPTIMIZER_PREFIX, OPTIMIZER_NUMBER_PREFIX)
                flat[f"{prefix}{quantity}.{names[index]}"] = tensor
    for group_index, group in enumerate(optimizer.param_groups):
        for name in _list_group_state(optimizer, group):
            prefix, tensor = _encode_value(
                group[name], OPTIMIZER_GROUP_PREFIX, OPTIMIZER_GROUP_NUMBER_PREFIX
            )
            flat[f"{prefix}{group_index}.{name}"] = tensor
    return flat


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the state that `flatten_optimizer_state` returned; the settings of parameter groups are
    not changed."""
    indices = {name: index for index, name in enumerate(_list_parameter_names(optimizer))}
    state: dict[int, dict[str, Any]] = {}
    groups = optimizer.state_dict()["param_groups"]
    for key, tensor in tensors.items():
        prefix = f"{key.partition('.')[0]}."
        if prefix not in (*_PARAMETER_PREFIXES, *_GROUP_PREFIXES):
            continue
        quantity, _, name = key.removeprefix(prefix).partition(".")
        value = tensor.item() if prefix in _NUMBER_PREFIXES else tensor
        if prefix in _GROUP_PREFIXES:
            groups[int(quantity)][name] = value
        else:
            state.setdefault(indices[name], {})[quantity] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})


_PARAMETER_PREFIXES = (OPTIMIZER_PREFIX, OPTIMIZER_NUMBER_PREFIX)
_GROUP_PREFIXES = (OPTIMIZER_GROUP_PREFIX, OPTIMIZER_GROUP_NUMBER_PREFIX)
_NUMBER_PREFIXES = (OPTIMIZER_NUMBER_PREFIX, OPTIMIZER_GROUP_NUMBER_PREFIX)
_GROUP_SETTINGS = ("params", "param_names", "lr", "lr_scale", "name")
"""Entries of a parameter group that training sets."""


def _encode_value(value: Any, tensor_prefix: str, number_prefix: str) -> tuple[str, Tensor]:
    """Return a value as a tensor, and the prefix that says whether it was one."""
    if isinstance(value, Tensor):
        return tensor_prefix, value
    if isinstance(value, (bool, int)):
        return number_prefix, torch.tensor(value)
    if isinstance(value, float):
        return number_prefix, torch.tensor(value, dtype=torch.float64)
    raise ValueError(f"its state holds a value of type {type(value).__name__}")


def _list_group_state(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> list[str]:
    """Return the names of the values that the optimizer itself has added to a group."""
    return [n for n in group if n not in optimizer.defaults and n not in _GROUP_SETTINGS]


def _list_parameter_names(optimizer: torch.optim.Optimizer) -> list[str]:
    groups = optimizer.state_dict()["param_groups"]
    return [name for group in groups for name in group["param_names"]]
