"""What `runtime.device=auto` means on this machine, found without importing torch.

Commands that must answer at once ask here; a process that computes asks torch itself
(`uniclip.numerics.get_device`).
"""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

AUTO = "auto"
"""The value of `runtime.device` that takes a GPU where there is one."""
DEVICE_FOLDER = Path("/dev")
"""Where the driver of NVIDIA makes one file for each GPU that a process may use."""
CUDA_LIBRARY = Path("lib", "libtorch_cuda.so")
"""A file of torch's package that only builds with CUDA have."""


def detect_device() -> str:
    """Return "cuda" if this machine has a GPU that torch can use, as far as files tell; or "cpu".

    A GPU counts if the driver has made its device file, CUDA_VISIBLE_DEVICES does not hide it, and
    torch is a build with CUDA.
    """
    return "cuda" if count_visible_gpus() and _has_cuda_build() else "cpu"


def count_visible_gpus() -> int:
    """Return how many GPUs of NVIDIA this process may use."""
    try:
        names = os.listdir(DEVICE_FOLDER)
    except OSError:
        return 0
    num_gpus = sum(re.fullmatch(r"nvidia\d+", name) is not None for name in names)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return num_gpus
    # CUDA ignores all names from the first one on that is no device, such as -1.
    valid_names = 0
    for name in visible.split(","):
        if not re.fullmatch(r"\d+|GPU-.+|MIG-.+", name.strip()):
            break
        valid_names += 1
    return min(num_gpus, valid_names)


def _has_cuda_build() -> bool:
    spec = find_spec("torch")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return any(Path(folder, CUDA_LIBRARY).exists() for folder in folders)
