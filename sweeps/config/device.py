"""What `runtime.device=auto` means where the runs of a sweep are executed."""

from __future__ import annotations

import os
from typing import Any

from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, requests_gpus
from sweeps.slurm_environment import select_sbatch_variables
from uniclip.config.device import AUTO, detect_device


def resolve_device(device: str, launcher: LocalLauncherConfig | SlurmLauncherConfig) -> str:
    """Return the device for a value of `runtime.device`: "cuda" or "cpu" for "auto".

    On this machine it is a GPU if there is one; in jobs of Slurm if they request one.
    """
    if device != AUTO:
        return device
    if not isinstance(launcher, SlurmLauncherConfig):
        return detect_device()
    variables = select_sbatch_variables(os.environ, ())
    return "cuda" if requests_gpus(launcher) or variables.requests_gpus else "cpu"


def resolve_device_of(
    values: dict[str, Any], launcher: LocalLauncherConfig | SlurmLauncherConfig
) -> dict[str, Any]:
    """Return the values of a run after its device was resolved in place."""
    runtime = values["runtime"]
    runtime["device"] = resolve_device(str(runtime["device"]), launcher)
    return values
