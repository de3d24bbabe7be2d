"""The class of machine and settings within which equal configurations give equal bits.

Another CPU capability, thread count, device or torch version may add the same numbers in another
order. So the numerics class is stored in every claim, and a resume or a comparison of runs across
classes is recorded as such. What `apply` sets holds for the whole process: it is called before
anything is computed.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import scipy.linalg  # noqa: F401  only a BLAS that is loaded has a number of threads to set
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from uniclip import distributed
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.image_decoder import describe_image_decoder

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""
MAX_HEAP_BLOCK_BYTES = 32 * 2**20
"""Size up to which a block of memory is taken from the heap: the largest that mallopt accepts."""
MAX_FREE_HEAP_BYTES = 2**30
"""Free memory at the end of the heap that is kept for the next step, in bytes."""
MIN_COMPILER_CAPABILITY = (7, 0)
"""CUDA capability from which on Triton, the compiler of torch.compile, generates kernels."""
PROC_STATUS, PROC_CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def get_numerics_class(config: RunConfig) -> dict[str, Any]:
    """Return what determines the bits of a run beside its configuration, as JSON values.

    Raises:
        UserError: `runtime.device` is not available on this machine.
    """
    device = get_device(config.runtime.device)
    return {
        "device": device.type,
        "device_name": _get_device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": config.train.num_threads,
        "world_size": distributed.get_process_group().world_size,
        "precision": config.train.precision,
        "torch": str(torch.__version__),
        **_describe_fast_numerics(config, device),
        **({"image_decoder": describe_image_decoder()} if config.data.decodes_images else {}),
    }


def _describe_fast_numerics(config: RunConfig, device: torch.device) -> dict[str, Any]:
    """Return the entries of fast numerics; none with exact ones, the default."""
    if config.train.numerics == "exact":
        return {}
    return {"numerics": "fast", "compiled": is_compilation_available(device)}


def is_compilation_available(device: torch.device) -> bool:
    """Return whether torch.compile can generate kernels for this GPU; False for other devices.

    On a CPU it would wait minutes for a C++ compiler, in every run anew.
    """
    if device.type != "cuda" or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= MIN_COMPILER_CAPABILITY


def get_device(name: str) -> torch.device:
    """Return the device that `runtime.device` names; for "auto" cuda where there is one, else cpu.

    Raises:
        UserError: the device is not available on this machine.
    """
    name = distributed.choose_device(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"runtime.device={name!r} is not available here; cpu always is") from None
    return device


def apply(num_threads: int, numerics: Literal["exact", "fast"] = "exact") -> None:
    """Set up this process, with `num_threads` compute threads.

    numerics: exact = full float32, deterministic kernels; fast = TF32 where a device has it,
        kernels chosen by timing. As of `train.numerics`.
    """
    is_exact = numerics == "exact"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for deterministic cuBLAS
    torch.set_num_threads(num_threads)
    # numpy and scipy load a BLAS each, whose threads OMP_NUM_THREADS or the cores would determine.
    threadpool_limits(num_threads, user_api="blas")
    # use_deterministic_algorithms imports the compiler
    torch.set_deterministic_debug_mode("error" if is_exact else "default")
    # Deterministic mode would also fill every new tensor with NaN to make reads of uninitialized
    # memory repeatable. No code here reads memory before writing it, and filling costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Flushing is set per thread, and threads of the pool may be older than this call: off is the
    # one value that all of them share.
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest" if is_exact else "high")
    torch.backends.cudnn.benchmark = not is_exact
    torch.backends.cudnn.allow_tf32 = not is_exact
    keep_freed_memory()


@contextmanager
def full_float32_products() -> Iterator[None]:
    """Context in which products of float32 matrices are computed in full float32.

    A loss multiplies cosines by up to 100: with the 10 bits of TF32 its logits would be off by up
    to 0.1.
    """
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(previous)


def keep_freed_memory() -> None:
    """Keep the memory of freed tensors for the next ones; no effect without glibc.

    By default glibc maps every block above some size anew and unmaps it when it is freed: each step
    the kernel clears each page of each intermediate tensor. Values do not depend on it.
    """
    glibc = _load_glibc()
    if glibc is not None:
        glibc.mallopt(M_MMAP_THRESHOLD, MAX_HEAP_BLOCK_BYTES)
        glibc.mallopt(M_TRIM_THRESHOLD, MAX_FREE_HEAP_BYTES)


@cache
def _load_glibc() -> ctypes.CDLL | None:
    """Return the C library of this process if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


@contextmanager
def loss_context(precision: Literal["fp32", "bf16"], device: torch.device) -> Iterator[None]:
    """Context in which a method computes its loss terms from float32 embeddings.

    With bf16 the heads of the method compute in bfloat16. Similarities and losses leave autocast,
    and are computed and summed in full float32 whatever `train.precision` and `train.numerics` are.
    The context ends before the backward pass: streamed losses compute their scores again in full
    float32, while other products of gradients follow `train.numerics`.
    """
    use_bfloat16 = precision == "bf16"
    with (
        torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bfloat16),
        full_float32_products(),
    ):
        yield


class Autocast:
    """An embedder that computes in bfloat16 where that is safe and returns float32.

    Embeddings are normalized again in float32: so losses, which multiply cosines by up to 100, are
    computed in float32 from unit rows without rounded norms.
    """

    NORMALIZED_METHODS = ("encode_image", "project_image", "encode_text", "project_text")
    """Methods of `uniclip.models.embedder.Embedder` that return unit rows."""
    AUTOCAST_METHODS = (
        "compute_image_features",
        "apply_image_head",
        "compute_text_hidden_states",
        *NORMALIZED_METHODS,
    )
    """Methods of the embedder that compute in bfloat16; all others are passed through."""

    def __init__(self, embedder: Any, device: torch.device) -> None:
        self._embedder, self._device_type = embedder, device.type

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._embedder, name)
        if name not in self.AUTOCAST_METHODS:
            return method

        def call_in_bfloat16(*inputs: Tensor) -> Tensor:
            with torch.autocast(self._device_type, dtype=torch.bfloat16):
                rows: Tensor = method(*inputs)
            rows = rows.float()
            return functional.normalize(rows, dim=-1) if name in self.NORMALIZED_METHODS else rows

        return call_in_bfloat16


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak of `get_peak_memory_bytes` to the memory in use; no effect without Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif PROC_CLEAR_REFS.exists():
        glibc = _load_glibc()
        if glibc is not None:
            glibc.malloc_trim(0)  # what an earlier run of this process left
        with suppress(OSError):  # a container may forbid it
            PROC_CLEAR_REFS.write_text("5")


def get_peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory use since `reset_peak_memory`, in bytes.

    Of the device if it has its own memory, else of this process; without Linux since its start.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    for line in PROC_STATUS.read_text().splitlines() if PROC_STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # POSIX only, like the links of the store

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(kilobytes) * (1 if platform.system() == "Darwin" else 1024)


def _get_device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type != "cpu":
        return device.type
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
