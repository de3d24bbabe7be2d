"""Checkpoints written by a thread, while training continues.

The training thread only copies the state (`Snapshot`): on a CPU into memory that is used again by
the next copy, from a GPU into pinned memory without waiting for the copy. What only the optimizer
changes is copied, on a CPU, if the thread still needs it when the next update is due: most files
are written during the passes of a step, without memory for the optimizer's state. The thread
computes the checksum and writes the file, as `checkpoint.write_checkpoint` does; both release the
interpreter lock. One checkpoint at most is being written. A process that is killed meanwhile
resumes from the checkpoint before it, since a file has its name only once it is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition

import torch
from torch import Tensor

from uniclip.store import AttemptFolder
from uniclip.training import checkpoint


class Snapshot(Mapping[str, Tensor]):
    """A copy of tensors in memory of its own, which each `update` overwrites.

    A reader, in one thread, may use a tensor until it takes the next one or calls `release`.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._copied: torch.cuda.Event | None = None
        self._live: dict[str, Tensor] = {}
        """Tensors that are not copied yet."""
        self._deferred: set[str] = set()
        """Those that were not copied by `update`."""
        self._in_use: Tensor | None = None
        """The tensor that the reader uses, if it is not copied yet."""
        self._condition = Condition()

    def update(
        self,
        tensors: Mapping[str, Tensor],
        constant: Collection[str] = (),
        deferred: Collection[str] = (),
    ) -> None:
        """Copy tensors; those of a GPU are copied before its next kernel of this stream.

        Nothing reads the previous ones any more.

        Args:
            tensors: Name -> tensor, on any device.
            constant: Names of tensors on the CPU that never change: they are not copied.
            deferred: Names of tensors that do not change before `preserve` is called.
        """
        previous, self._buffers, self._copied = self._buffers, {}, None
        self._live = {n: t for n, t in tensors.items() if n in deferred and t.device.type == "cpu"}
        self._deferred = set(self._live)
        cuda_device = None
        for name, tensor in tensors.items():
            if name in constant or name in self._live:
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

    def preserve(self) -> None:
        """Copy what is not copied yet, if it is still needed: afterwards the tensors may change.

        Waits for the reader to leave the tensor that it uses.
        """
        with self._condition:
            for name, tensor in self._live.items():
                self._buffers[name] = tensor.detach().clone()
            self._live = {}
            self._condition.wait_for(lambda: self._in_use is None)

    def release(self) -> None:
        """Note that nothing is read any more until the next `update`; keep no deferred tensor."""
        with self._condition:
            self._live, self._in_use = {}, None
            self._buffers = {n: t for n, t in self._buffers.items() if n not in self._deferred}
            self._condition.notify_all()

    def __getitem__(self, name: str) -> Tensor:
        with self._condition:
            self._in_use = self._live.get(name)
            self._condition.notify_all()
            return self._buffers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._buffers)

    def __len__(self) -> int:
        return len(self._buffers)

    def synchronize(self) -> None:
        """Wait until copies from a GPU are complete; called by any thread."""
        if self._copied is not None:
            self._copied.synchronize()


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
        deferred: Collection[str] = (),
    ) -> None:
        """Copy the state and let the thread write it; the tensors may change afterwards.

        Args:
            step, tensors, metadata: As of `checkpoint.write_checkpoint`.
            constant, deferred: As of `Snapshot.update`; the latter change after `preserve` only.

        Raises:
            UserError, OSError: The checkpoint before this one could not be written.
        """
        self.wait()
        self._snapshot.update(tensors, constant, deferred)
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._write = self._executor.submit(self._write_snapshot, step, dict(metadata))

    def _write_snapshot(self, step: int, metadata: Mapping[str, object]) -> None:
        try:
            if not self._attempt.is_superseded():
                self._snapshot.synchronize()
                snapshot = self._snapshot
                checkpoint.write_checkpoint(
                    self._attempt, step, snapshot, metadata, snapshot.release
                )
        finally:
            self._snapshot.release()

    def preserve(self) -> None:
        """Copy what the thread still needs; called before the optimizer changes its state."""
        self._snapshot.preserve()

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
