"""Check of torch and the device, in a process of its own.

The front door thus does not import torch, and a library that crashes does not end the command.
`python -m sweeps.doctor.device <device>` is that process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from sweeps.claims import process
from sweeps.doctor.diagnostic import Diagnostic, ok, problem
from uniclip.dependencies import INSTALL_ALL

REQUIRED_MODULES = ("torch", "torchvision", "timm", "transformers")
IMPORT_TIMEOUT_SECONDS = 600
"""Imports that take longer are considered to hang."""


@dataclass(frozen=True, kw_only=True)
class DeviceReport:
    """What a process reports of its libraries and of the device."""

    versions: dict[str, str]
    """Version of each of `REQUIRED_MODULES`."""
    num_gpus: int
    error: str | None
    """Why the device cannot be used; None if it can."""


_reports: dict[str, DeviceReport] = {}
"""Device -> its report, of the devices that this process has checked."""


def count_checked_gpus(device: str) -> int | None:
    """Return the number of GPUs of this machine; None if the device was not checked yet."""
    report = _reports.get(device)
    return report.num_gpus if report is not None and report.error is None else None


def check_device(device: str, num_gpus: int = 1, gpus_per_run: int = 1) -> list[Diagnostic]:
    """Check that torch and its libraries can be imported and that the device works.

    A process that is asked again does not import them again.

    Args:
        device: as runtime.device.
        num_gpus: GPUs that must be there if the device is a GPU.
        gpus_per_run: GPUs that a run uses together.
    """
    if device in _reports:
        return build_diagnostics(_reports[device], device, num_gpus, gpus_per_run)
    try:
        output, failure = process.run_in_subprocess(
            __name__, device, timeout_seconds=IMPORT_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        message = f"its imports did not end in {IMPORT_TIMEOUT_SECONDS} s"
        return [problem("torch", message, "is the environment on a slow mount?")]
    if failure is not None:
        return [problem("torch", failure[:200], INSTALL_ALL)]
    report = DeviceReport(**json.loads(output.splitlines()[-1]))
    _reports[device] = report
    return build_diagnostics(report, device, num_gpus, gpus_per_run)


def build_diagnostics(
    report: DeviceReport, device: str, num_gpus: int, gpus_per_run: int = 1
) -> list[Diagnostic]:
    """Return the diagnostics of a report; see `check_device`."""
    check = f"runtime.device={device}"
    versions = ", ".join(f"{name} {report.versions[name]}" for name in REQUIRED_MODULES)
    diagnostics = [ok("torch", versions)]
    if report.error is not None:
        fix = "runtime.device=cpu, or a machine (and a torch build) that has it"
        diagnostics.append(problem(check, f"not available: {report.error}", fix))
    elif device.partition(":")[0] == "cuda" and report.num_gpus < num_gpus:
        message = f"{report.num_gpus} GPUs available, {num_gpus} requested"
        num_workers = report.num_gpus // gpus_per_run
        fix = f"launcher.max_workers={num_workers}, or more GPUs"
        if num_workers == 0:
            fix = f"launcher.tasks_per_node={report.num_gpus}, or more GPUs"
        diagnostics.append(problem(check, message, fix))
    else:
        diagnostics.append(ok(check, f"available ({report.num_gpus} GPUs)"))
    return diagnostics


def query_device(device: str) -> DeviceReport:
    """Use the device once, and import what training imports unless that failed."""
    import importlib
    from importlib import metadata

    import torch

    error = None
    try:
        torch.ones(2, device=device).sum().item()
    except Exception as raised:  # each backend raises errors of its own
        error = " ".join(str(raised).split())[:200] or type(raised).__name__
    if error is None:
        for name in REQUIRED_MODULES:
            importlib.import_module(name)
    versions = {name: metadata.version(name) for name in REQUIRED_MODULES}
    return DeviceReport(versions=versions, num_gpus=torch.cuda.device_count(), error=error)


if __name__ == "__main__":
    print(json.dumps(asdict(query_device(sys.argv[1]))))
