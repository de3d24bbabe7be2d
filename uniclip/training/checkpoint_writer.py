"""Checkpoints written by a thread, while training continues.

The training thread only copies the state (`Snapshot`): on a CPU into memory that is used again by
the next copy, from a GPU into pinned memory without waiting for the copy. The thread computes the
checksum and writes the file, as `checkpoint.write_checkpoint` does; both release the interpreter
lock. One checkpoint at most is being written. A process that is killed meanwhile resumes from the
checkpoint before it, since a file has its name only once it is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from uniclip.store import AttemptFolder
from uniclip.training import checkpoint


class Snapshot:
    """A copy of tensors in memory of its own, which each `update` overwrites."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None

    def update(self, tensors: Mapping[str, Tensor], constant: Collection[str] = ()) -> None:
        """Copy tensors; those of a GPU are copied before its next kernel of this stream.

        Args:
            tensors: Name -> tensor, on any device.
            constant: Names of tensors on the CPU that never change: they are not copied.
        """
        previous, self._buffers, self._copied = self._buffers, {}, None
        cuda_device = None
        for name, tensor in tensors.items():
            if name in constant:
                self._buffers[name] = tensor
                continue
            buffer = previous.get(name)
            if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
                buffer = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._buffers[name] = buffer.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
            cuda_device = tensor.device if tensor.is_cuda else cuda_device
        if cuda_device is not None:
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(cuda_device))

    def get_tensors(self) -> dict[str, Tensor]:
        """Return the copies, when they are complete; called by any thread."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._buffers


class CheckpointWriter:
    """Writes the checkpoints of an attempt in a thread of its own."""

    def __init__(self, attempt: AttemptFolder) -> None:
        self._attempt = attempt
        self._snapshot = Snapshot()
        self._executor: ThreadPoolExecutor | None = None
        self._write: Future[None] | None = None

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._write is not None and not self._write.done()

    def start(
        self,
        step: int,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, object],
        constant: Collection[str] = (),
    ) -> None:
        """Copy the state and let the thread write it; the tensors may change afterwards.

        Args:
            step, tensors, metadata: As of `checkpoint.write_checkpoint`.
            constant: As of `Snapshot.update`.

        Raises:
            UserError, OSError: The checkpoint before this one could not be written.
        """
        self.wait()
        self._snapshot.update(tensors, constant)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._write = self._executor.submit(self._write_snapshot, step, dict(metadata))

    def _write_snapshot(self, step: int, metadata: Mapping[str, object]) -> None:
        if not self._attempt.is_superseded():
            tensors = self._snapshot.get_tensors()
            checkpoint.write_checkpoint(self._attempt, step, tensors, metadata)

    def raise_error(self) -> None:
        """Raise the error of a checkpoint that could not be written, once; never waits."""
        if self._write is not None and self._write.done():
            self.wait()

    def wait(self) -> None:
        """Wait until no checkpoint is being written, and raise its error, once."""
        write, self._write = self._write, None
        if write is not None:
            write.result()

    def close(self) -> None:
        """Wait and end the thread; raises as `wait`."""
        try:
            self.wait()
        finally:
            if self._executor is not None:
                self._executor.shutdown()
