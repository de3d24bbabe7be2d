"""The sbatch script of a job: its options, its setup lines and its command, through submitit.

`build_sbatch_parameters` is the one place where the keys of `launcher=slurm` become options of
sbatch. The launcher, the doctor's test job and its test submissions all use it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.submissions import SubmissionRejected
from sweeps.slurm import JOB_NAME_PREFIX, escape_file_pattern, run_command
from sweeps.slurm_environment import SbatchVariables, select_sbatch_variables
from uniclip.identity import ROOT

FOLLOW_UP_MINUTES = 60
"""Time limit of a follow-up job, unless that of cells is shorter."""
FOLLOW_UP_SIGNAL_SECONDS = 60
"""How long before its time limit a follow-up job is signalled."""
JOB_MODULE = "sweeps.cli.slurm_job"
"""Module that a job runs, with the store, the sweep id and the token as arguments."""
SCRIPT_FUNCTION = "_make_sbatch_string"
"""Private function of submitit that returns the script of a job."""
FOLDER_PLACEHOLDER = "/uniclip-log-folder"
"""Stands for the log folder in submitit's script: submitit would read "%j" in its name as a
pattern, as Slurm does, but cannot escape it."""
JOB_ID = re.compile(r"Submitted batch job (\d+)")
"""What sbatch prints."""
NOT_SBATCH_OPTIONS = frozenset(
    "job_name array_parallelism signal_delay_s setup srun_args additional_parameters".split()
)
"""Parameters of submitit that sbatch has no option for, or that a single job does without."""


def build_sbatch_parameters(
    launcher_config: SlurmLauncherConfig,
    *,
    token: str,
    snapshot_folder: Path,
    num_cores: int,
    is_follow_up: bool = False,
    dependency_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the options of a job, as parameters of submitit's `SlurmExecutor`.

    Jobs are submitted held and may be requeued. A follow-up job asks for one process on one node.

    Args:
        launcher_config: the keys of the launcher.
        token: token of the submission; part of the job's name.
        snapshot_folder: the copy of the code that the job imports.
        num_cores: cores of a process, if `cpus_per_task` is not set.
        is_follow_up: whether the job is a follow-up job.
        dependency_ids: jobs that must have ended before this one starts.
    """
    if is_follow_up:
        launcher_config = _shrink_to_follow_up(launcher_config)
    num_cpus = launcher_config.cpus_per_task or num_cores
    mem_gb = launcher_config.mem_gb
    parameters = {
        "job_name": f"{JOB_NAME_PREFIX}{token}",
        "partition": launcher_config.partition,
        "account": launcher_config.account,
        "qos": launcher_config.qos,
        "constraint": launcher_config.constraint,
        "gres": launcher_config.gres,
        "nodes": launcher_config.nodes,
        "gpus_per_node": launcher_config.gpus_per_node,
        "ntasks_per_node": launcher_config.processes_per_node,
        "cpus_per_task": num_cpus,
        "mem": None if mem_gb is None else f"{round(mem_gb * 1024)}MB",
        "time": launcher_config.timeout_min,
        "array_parallelism": launcher_config.array_parallelism,
        "signal_delay_s": launcher_config.signal_delay_s,
        "dependency": f"afterany:{':'.join(dependency_ids)}" if dependency_ids else None,
        "setup": [
            *_build_setup_lines(snapshot_folder, launcher_config.offline),
            *launcher_config.setup,
        ],
        # Since Slurm 22.05 srun does not inherit --cpus-per-task from sbatch. With
        # SBATCH_EXPORT=NONE it would not pass on what the script has set.
        "srun_args": [f"--cpus-per-task={num_cpus}", "--kill-on-bad-exit=1", "--export=ALL"],
        "additional_parameters": {
            "hold": True,
            "requeue": True,
            **launcher_config.additional_parameters,
        },
    }
    return {name: value for name, value in parameters.items() if value is not None}


def format_sbatch_options(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return parameters of submitit as command-line options of a single job that is not held."""
    direct = {k: v for k, v in parameters.items() if k not in NOT_SBATCH_OPTIONS}
    additional = {
        k: v for k, v in parameters.get("additional_parameters", {}).items() if k != "hold"
    }
    options = {k.replace("_", "-"): v for k, v in {**direct, **additional}.items()}
    return tuple(f"--{k}" if v is True else f"--{k}={v}" for k, v in options.items())


def build_sbatch_options(
    launcher_config: SlurmLauncherConfig, num_cores: int, *, is_follow_up: bool = False
) -> tuple[str, ...]:
    """Return the command-line options of sbatch for one cell, or for a follow-up job.

    They check or test a submission.
    """
    parameters = build_sbatch_parameters(
        launcher_config,
        token="doctor",
        snapshot_folder=ROOT,
        num_cores=num_cores,
        is_follow_up=is_follow_up,
    )
    return format_sbatch_options(parameters)


def find_sbatch_variables(
    launcher_config: SlurmLauncherConfig, *, is_follow_up: bool = False
) -> SbatchVariables:
    """Return which exported variables of sbatch apply to cells, or to follow-up jobs."""
    parameters = build_sbatch_parameters(
        launcher_config,
        token="",
        snapshot_folder=ROOT,
        num_cores=1,
        is_follow_up=is_follow_up,
    )
    names = [*parameters, *parameters["additional_parameters"]]
    options = {name.replace("-", "_") for name in names}
    return select_sbatch_variables(os.environ, options, is_follow_up=is_follow_up)


def build_script(
    log_folder: Path,
    python: str | None,
    arguments: Sequence[str],
    parameters: Mapping[str, Any],
    num_tasks: int = 1,
) -> str:
    """Return the script of a job, as submitit writes it, that runs `JOB_MODULE`.

    Args:
        log_folder: folder of the jobs' output.
        python: shell command that starts Python; None for the one of this process.
        arguments: command-line arguments of `JOB_MODULE`.
        parameters: what `build_sbatch_parameters` returned.
        num_tasks: tasks of the array; 1 for a single job.

    Raises:
        RuntimeError: this version of submitit lacks the function that is used.
    """
    from submitit.slurm import slurm as submitit_slurm

    make_sbatch_string = getattr(submitit_slurm, SCRIPT_FUNCTION, None)
    if make_sbatch_string is None:
        raise RuntimeError(
            f"submitit {version('submitit')} has no function {SCRIPT_FUNCTION}: "
            "install the version that pyproject.toml names"
        )
    command = f"{python or shlex.quote(sys.executable)} -u -m {JOB_MODULE} {shlex.join(arguments)}"
    script: str = make_sbatch_string(
        command=command,
        folder=FOLDER_PLACEHOLDER,
        map_count=num_tasks if num_tasks > 1 else None,
        wckey=None,
        **parameters,
    )
    return script.replace(FOLDER_PLACEHOLDER, shlex.quote(escape_file_pattern(log_folder)))


def submit_script(log_folder: Path, script: str, sbatch_variables: Mapping[str, str]) -> str:
    """Submit the script of a job or an array, leave it in the log folder; return the job's id.

    Options of the job that this process runs in, if any, are not passed on.

    Args:
        log_folder: folder of the jobs' output; created if it is missing.
        script: the script.
        sbatch_variables: variables of sbatch that apply to the job.

    Raises:
        SubmissionRejected: sbatch rejected the job.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    script_path = log_folder / f".submission-{uuid.uuid4().hex}.sh"
    script_path.write_bytes(os.fsencode(script))
    try:
        completed = run_command(
            "sbatch", str(script_path), sbatch_variables=sbatch_variables, timeout=None
        )
        job_id_match = JOB_ID.search(completed.stdout)
        if completed.returncode != 0 or job_id_match is None:
            raise SubmissionRejected((completed.stderr or completed.stdout).strip() or "no message")
        job_id = job_id_match[1]
        script_path.replace(log_folder / f"{job_id}_submission.sh")
    finally:
        script_path.unlink(missing_ok=True)
    return job_id


def _shrink_to_follow_up(launcher_config: SlurmLauncherConfig) -> SlurmLauncherConfig:
    return replace(
        launcher_config,
        partition=launcher_config.follow_up_partition or launcher_config.partition,
        nodes=1,
        gpus_per_node=None,
        tasks_per_node=1,
        gres=None,
        cpus_per_task=1,
        timeout_min=min(FOLLOW_UP_MINUTES, launcher_config.timeout_min),
        signal_delay_s=min(FOLLOW_UP_SIGNAL_SECONDS, launcher_config.signal_delay_s),
    )


def _build_setup_lines(snapshot_folder: Path, offline: bool) -> list[str]:
    """Return shell lines that make a job import from the snapshot, whatever its folder is."""
    lines = [
        f"export PYTHONPATH={shlex.quote(str(snapshot_folder))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
    ]
    return [*lines, "export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"] if offline else lines
