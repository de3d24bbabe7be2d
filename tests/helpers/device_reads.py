"""Counts how often the host reads tensors of the device, with a CPU in the place of a GPU.

Tensors that are "on the device" are named; what is computed from them is on the device too. The
host waits for a GPU where it reads a number (`item`, `tolist`, `cpu`, `bool(tensor)` ...), and in
operations whose result has a shape that depends on values (`nonzero`, a boolean index ...).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uniclip.data.batch import HOST_FIELDS, Batch
from uniclip.training.state import TrainState

READING_OPERATIONS = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "bincount",
    "repeat_interleave",
}
INDEXING_OPERATIONS = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""They read if an index is boolean."""
READING_FUNCTIONS = {torch.Tensor.tolist, torch.Tensor.numpy, torch.Tensor.cpu}


class DeviceReads(AbstractContextManager["DeviceReads"]):
    """Context in which reads are counted, on the calling thread, in both passes.

    Args:
        tensors: Those on the device.

    Attributes:
        places: For each read, the operation and the line of uniclip that caused it.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.places: list[str] = []
        self._storages: dict[int, torch.UntypedStorage] = {}
        """By address; held, so that no other tensor gets the address."""
        self._stack = ExitStack()
        for tensor in tensors:
            self.add(tensor)

    def __enter__(self) -> DeviceReads:
        self._stack.enter_context(_Functions(self))
        self._stack.enter_context(_Operations(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, tensor: Tensor) -> None:
        """Note that a tensor is on the device."""
        storage = tensor.untyped_storage()
        if storage.nbytes() > 0:
            self._storages[storage.data_ptr()] = storage

    def has(self, values: Any) -> bool:
        """Return whether a tensor in nested lists is on the device."""
        return any(
            isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() in self._storages
            for leaf in tree_leaves(values)
        )

    def note_read(self, name: str) -> None:
        """Note a read at the current place."""
        frames = [f for f in traceback.extract_stack() if "/uniclip/" in f.filename]
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
        self.places.append(f"{name} at {place}")


class _Operations(TorchDispatchMode):
    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = [args, kwargs or {}]
        is_on_device = self._reads.has(inputs)
        name = func.overloadpacket.__name__
        has_mask = name in INDEXING_OPERATIONS and any(
            isinstance(index, Tensor) and index.dtype == torch.bool
            for index in tree_leaves(args[1])
        )
        if is_on_device and (name in READING_OPERATIONS or has_mask):
            self._reads.note_read(name)
        outputs = func(*args, **(kwargs or {}))
        if is_on_device:
            for leaf in tree_leaves([outputs, inputs if name.endswith("_") else ()]):
                if isinstance(leaf, Tensor):
                    self._reads.add(leaf)
        return outputs


class _Functions(TorchFunctionMode):
    def __init__(self, reads: DeviceReads) -> None:
        super().__init__()
        self._reads = reads

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING_FUNCTIONS and self._reads.has(args):
            self._reads.note_read(func.__name__)
        return func(*args, **(kwargs or {}))


def list_device_tensors(state: TrainState, batch: Batch) -> list[Tensor]:
    """Return the tensors of a training step that a GPU would hold."""
    batch_tensors = [
        getattr(batch, field.name) for field in fields(batch) if field.name not in HOST_FIELDS
    ]
    optimizer_tensors = tree_leaves([list(s.values()) for s in state.optimizer.state.values()])
    return [
        leaf
        for leaf in (
            *batch_tensors,
            *state.modules.parameters(),
            *state.modules.buffers(),
            *optimizer_tensors,
            state.latch.is_set,
        )
        if isinstance(leaf, Tensor)
    ]
