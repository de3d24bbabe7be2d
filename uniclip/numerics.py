"""The class of machine and settings within which the same configuration gives the same bits.

Another CPU capability, thread count, device or torch version may add up the same numbers in
another order. So the class is written into every claim, and a resume or a pair of runs across
classes is recorded as such. What `apply` sets is process-wide: it is called before anything is
computed.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

import scipy.linalg  # noqa: F401  only a BLAS that is loaded can be held to a number of threads
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from uniclip import distributed
from uniclip.config import RunConfig
from uniclip.errors import UserError

PROC_STATUS, PROC_CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def get_numerics_class(config: RunConfig) -> dict[str, Any]:
    """What decides the bits of `config`'s run beside the configuration: plain JSON values.

    Raises:
        UserError: runtime.device names no device of this machine.
    """
    torch_device = get_device(config)
    return {
        "device": torch_device.type,
        "model": _get_device_name(torch_device),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": config.train.num_threads,
        "world_size": distributed.get_process_group().world_size,
        "precision": config.train.precision,
        "torch": str(torch.__version__),
    }


def get_device(config: RunConfig) -> torch.device:
    """The device of runtime.device; `UserError` if there is no such device here."""
    name = config.runtime.device
    try:
        torch_device = torch.device(name)
        torch.empty(0, device=torch_device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(f"runtime.device={name!r} is not available here; cpu always is") from None
    return torch_device


def apply(config: RunConfig) -> None:
    """Set this process to `config`'s numerics class; float32 in full, deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic cuBLAS wants it
    torch.set_num_threads(config.train.num_threads)
    # numpy and scipy bring a BLAS each, which would take what OMP_NUM_THREADS or the cores say.
    threadpool_limits(config.train.num_threads, user_api="blas")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_... imports the compiler
    # Deterministic mode would also fill every new tensor with NaN to make reads of fresh memory
    # repeatable. Nothing here reads memory before writing it, and the filling costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Flushing is a setting of each thread, and pool threads may be older than this call: off is
    # the one value that all of them share.
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False


class Autocast:
    """An embedder that computes in bfloat16 where that is safe and answers in float32.

    Rows of unit length are brought to it again: so the objective, which multiplies cosines by up to
    100, sees no rounded norms and computes in float32.
    """

    AUTOCAST_METHODS = ("trunk", "head", "states", "images", "project", "texts", "project_text")
    NORMALIZED_METHODS = ("images", "project", "texts", "project_text")

    def __init__(self, embedder: Any, device: torch.device) -> None:
        self._embedder, self._device_type = embedder, device.type

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._embedder, name)
        if name not in self.AUTOCAST_METHODS:
            return method

        def cast(*inputs: Tensor) -> Tensor:
            with torch.autocast(self._device_type, dtype=torch.bfloat16):
                rows: Tensor = method(*inputs)
            rows = rows.float()
            return functional.normalize(rows, dim=-1) if name in self.NORMALIZED_METHODS else rows

        return cast


def reset_peak_memory(device: torch.device) -> None:
    """Start `peak_memory_bytes` anew from what is in use now; without Linux the peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif PROC_CLEAR_REFS.exists():
        with suppress(OSError):  # a container may forbid it
            PROC_CLEAR_REFS.write_text("5")


def get_peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use since `forget_peak_memory`, without Linux since the process began: of
    the device if it has its own, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    for line in PROC_STATUS.read_text().splitlines() if PROC_STATUS.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    import resource  # POSIX only, like the store's links

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
