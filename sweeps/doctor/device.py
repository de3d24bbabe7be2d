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
from sweeps.doctor.finding import Finding, ok, problem

IMPORTED = ("torch", "torchvision", "timm", "transformers")
START_SECONDS = 600
"""Longer, and its imports hang."""


def examine(device: str, count: int = 1) -> list[Finding]:
    """torch's libraries, then the device; `count` of them if it is a GPU."""
    check = "torch"
    try:
        said, failure = process.apart(__name__, device, seconds=START_SECONDS)
    except subprocess.TimeoutExpired:
        said = f"its imports did not end in {START_SECONDS} s"
        return [problem(check, said, "is the environment on a slow mount?")]
    if failure is not None:
        return [problem(check, failure[:200], "pip install -c constraints.txt -e .")]
    return judge(json.loads(said.splitlines()[-1]), device, count)


def judge(seen: dict[str, Any], device: str, count: int) -> list[Finding]:
    """What `look` saw, against what is asked."""
    libraries = ", ".join(f"{name} {seen['versions'][name]}" for name in IMPORTED)
    findings = [ok("torch", libraries)]
    check, found = f"runtime.device={device}", seen["gpus"]
    if seen["error"] is not None:
        mend = "runtime.device=cpu, or a machine (and a torch) that has it"
        findings.append(problem(check, f"not here: {seen['error']}", mend))
    elif device.partition(":")[0] == "cuda" and found < count:
        said = f"{found} GPUs here, {count} asked"
        findings.append(problem(check, said, f"launcher.slots={found}, or more GPUs"))
    else:
        findings.append(ok(check, f"answers ({found} GPUs)"))
    return findings


def look(device: str) -> dict[str, Any]:
    """Import what training imports, and use the device once."""
    import importlib

    versions = {name: str(importlib.import_module(name).__version__) for name in IMPORTED}
    import torch

    error = None
    try:
        torch.ones(2, device=device).sum().item()
    except Exception as raised:  # every backend has errors of its own
        error = " ".join(str(raised).split())[:200] or type(raised).__name__
    return {"versions": versions, "gpus": torch.cuda.device_count(), "error": error}


if __name__ == "__main__":
    print(json.dumps(look(sys.argv[1])))
