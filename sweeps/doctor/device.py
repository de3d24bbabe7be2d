"""Does torch start here, and does it find the device that was asked for?

Asked in a process of its own, `python -m sweeps.doctor.device <device>`: the front door stays free
of torch, and a library that crashes takes nobody with it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from sweeps.claims import process
from sweeps.doctor.finding import Diagnostic, ok, problem

REQUIRED_MODULES = ("torch", "torchvision", "timm", "transformers")
IMPORT_TIMEOUT_SECONDS = 600
"""Longer, and its imports hang."""


def check_device(device: str, count: int = 1) -> list[Diagnostic]:
    """torch's libraries, then the device; `count` of them if it is a GPU."""
    check = "torch"
    try:
        output, failure = process.run_in_subprocess(
            __name__, device, timeout_seconds=IMPORT_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        output = f"its imports did not end in {IMPORT_TIMEOUT_SECONDS} s"
        return [problem(check, output, "is the environment on a slow mount?")]
    if failure is not None:
        return [problem(check, failure[:200], "pip install -c constraints.txt -e .")]
    return build_diagnostics(json.loads(output.splitlines()[-1]), device, count)


def build_diagnostics(report: dict[str, Any], device: str, count: int) -> list[Diagnostic]:
    """What `look` saw, against what is asked."""
    libraries = ", ".join(f"{name} {report['versions'][name]}" for name in REQUIRED_MODULES)
    diagnostics = [ok("torch", libraries)]
    check, num_gpus = f"runtime.device={device}", report["gpus"]
    if report["error"] is not None:
        fix = "runtime.device=cpu, or a machine (and a torch) that has it"
        diagnostics.append(problem(check, f"not here: {report['error']}", fix))
    elif device.partition(":")[0] == "cuda" and num_gpus < count:
        message = f"{num_gpus} GPUs here, {count} asked"
        diagnostics.append(problem(check, message, f"launcher.max_workers={num_gpus}, or more GPUs"))
    else:
        diagnostics.append(ok(check, f"answers ({num_gpus} GPUs)"))
    return diagnostics


def query_device(device: str) -> dict[str, Any]:
    """Import what training imports, and use the device once."""
    import importlib

    versions = {name: str(importlib.import_module(name).__version__) for name in REQUIRED_MODULES}
    import torch

    error = None
    try:
        torch.ones(2, device=device).sum().item()
    except Exception as raised:  # every backend has errors of its own
        error = " ".join(str(raised).split())[:200] or type(raised).__name__
    return {"versions": versions, "gpus": torch.cuda.device_count(), "error": error}


if __name__ == "__main__":
    print(json.dumps(query_device(sys.argv[1])))
