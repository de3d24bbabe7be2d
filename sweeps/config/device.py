"""What `runtime.device=auto` means where the runs of a sweep are executed.

Plans keep "auto": each cell takes the device of the machine that executes it. What is found here is
what commands show, what launchers give to workers, and what estimates are for.
"""

from __future__ import annotations

import os

from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, requests_gpus
from sweeps.slurm_environment import SbatchVariables, select_sbatch_variables
from uniclip.config.device import AUTO, detect_device


def resolve_device(device: str, launcher: LocalLauncherConfig | SlurmLauncherConfig) -> str:
    """Return the device for a value of `runtime.device`: "cuda" or "cpu" for "auto".

    On this machine it is a GPU if there is one; in jobs of Slurm if they request one.
    """
    if device != AUTO:
        return device
    if not isinstance(launcher, SlurmLauncherConfig):
        return detect_device()
    exports_gpus = _select_resource_variables(launcher).requests_gpus
    return "cuda" if requests_gpus(launcher) or exports_gpus else "cpu"


def _select_resource_variables(launcher: SlurmLauncherConfig) -> SbatchVariables:
    """Return the variables of sbatch that apply to cells, as far as they request GPUs.

    The launcher's own request replaces that of the environment, as when jobs are submitted
    (`sweeps.launchers.sbatch.find_sbatch_variables`).
    """
    own_options = {"gres": launcher.gres, "gpus_per_node": launcher.gpus_per_node}
    options = {name for name, value in own_options.items() if value is not None}
    options |= {name.replace("-", "_") for name in launcher.additional_parameters}
    return select_sbatch_variables(os.environ, options)
