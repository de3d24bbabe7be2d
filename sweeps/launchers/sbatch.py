"""The sbatch script of a job: its options, its setup lines and its command, through submitit.

`build_sbatch_parameters` is the one place where the keys of `launcher=slurm` become options of
sbatch. The launcher, the doctor's test job and its test submissions all use it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.submissions import SubmissionRejected
from sweeps.slurm import JOB_NAME_PREFIX, drop_request_variables
from uniclip.identity import ROOT

if TYPE_CHECKING:
    from submitit import SlurmExecutor

FOLLOW_UP_MINUTES = 60
"""Time limit of a follow-up job."""
FOLLOW_UP_SIGNAL_SECONDS = 60
"""How long before its time limit a follow-up job is signalled."""
JOB_MODULE = "sweeps.cli.slurm_job"
"""Module that a job runs, with the store, the sweep id and the token as arguments."""
COMMAND_PROPERTY = "_submitit_command_str"
"""Private property of submitit's `SlurmExecutor` that is overridden to run `JOB_MODULE`."""
NOT_SBATCH_OPTIONS = frozenset(
    "job_name array_parallelism signal_delay_s setup srun_args additional_parameters".split()
)
"""Parameters of submitit that sbatch has no option for, or that a single job does without."""


def build_sbatch_parameters(
    launcher_config: SlurmLauncherConfig,
    *,
    token: str,
    snapshot_folder: Path,
    num_threads: int,
    is_follow_up: bool = False,
    dependency_ids: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the options of a job, as parameters of submitit's `SlurmExecutor`.

    Jobs are submitted held and may be requeued. A follow-up job asks for one process on one node.

    Args:
        launcher_config: the keys of the launcher.
        token: token of the submission; part of the job's name.
        snapshot_folder: the copy of the code that the job imports.
        num_threads: compute threads of a run, if `cpus_per_task` is not set.
        is_follow_up: whether the job is a follow-up job.
        dependency_ids: jobs that must have ended before this one starts.
    """
    if is_follow_up:
        launcher_config = _shrink_to_follow_up(launcher_config)
    num_cpus = launcher_config.cpus_per_task or num_threads
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
        # Since Slurm 22.05 srun does not inherit --cpus-per-task from sbatch.
        "srun_args": [f"--cpus-per-task={num_cpus}", "--kill-on-bad-exit=1"],
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


def build_sbatch_options(launcher_config: SlurmLauncherConfig, num_threads: int) -> tuple[str, ...]:
    """Return the command-line options of sbatch for one cell, to check or test a submission."""
    parameters = build_sbatch_parameters(
        launcher_config, token="doctor", snapshot_folder=ROOT, num_threads=num_threads
    )
    return format_sbatch_options(parameters)


def build_executor(
    folder: Path, python: str | None, arguments: Sequence[str], parameters: Mapping[str, Any]
) -> SlurmExecutor:
    """Return a submitit executor whose jobs run `JOB_MODULE` instead of unpickling a function.

    Args:
        folder: folder of submitit's files and of the jobs' output.
        python: shell command that starts Python; None for the one of this process.
        arguments: command-line arguments of `JOB_MODULE`.
        parameters: what `build_sbatch_parameters` returned.

    Raises:
        RuntimeError: this version of submitit lacks the property that is overridden.
    """
    from submitit import SlurmExecutor

    if not isinstance(vars(SlurmExecutor).get(COMMAND_PROPERTY), property):
        raise RuntimeError(
            f"submitit {version('submitit')} has no property SlurmExecutor.{COMMAND_PROPERTY}: "
            "install the version that pyproject.toml names"
        )

    class JobModuleExecutor(SlurmExecutor):
        """submitit's executor with the command of a job replaced."""

        @property
        def _submitit_command_str(self) -> str:
            return f"{self.python} -u -m {JOB_MODULE} {shlex.join(arguments)}"

    executor = JobModuleExecutor(folder, python=python)
    executor.update_parameters(**parameters)
    return executor


def submit_array(executor: SlurmExecutor, array_tasks: Sequence[Sequence[str]]) -> str:
    """Submit one job, or an array if there are several tasks; return its id.

    Options of the job that this process runs in, if any, are not passed on.

    Raises:
        SubmissionRejected: sbatch rejected the job.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with _without_request_variables(), executor.batch():
            jobs = [executor.submit(print, *runs) for runs in array_tasks]
    except (FailedJobError, FailedSubmissionError) as error:
        raise SubmissionRejected(str(error)) from None
    return str(jobs[0].job_id).split("_")[0]


def _shrink_to_follow_up(launcher_config: SlurmLauncherConfig) -> SlurmLauncherConfig:
    return replace(
        launcher_config,
        partition=launcher_config.follow_up_partition or launcher_config.partition,
        nodes=1,
        gpus_per_node=None,
        tasks_per_node=1,
        gres=None,
        cpus_per_task=1,
        timeout_min=FOLLOW_UP_MINUTES,
        signal_delay_s=FOLLOW_UP_SIGNAL_SECONDS,
    )


def _build_setup_lines(snapshot_folder: Path, offline: bool) -> list[str]:
    """Return shell lines that make a job import from the snapshot, whatever its folder is."""
    lines = [
        f"export PYTHONPATH={shlex.quote(str(snapshot_folder))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
    ]
    return [*lines, "export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"] if offline else lines


@contextmanager
def _without_request_variables() -> Iterator[None]:
    """Remove the variables through which sbatch inherits the options of the surrounding job."""
    saved_environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(drop_request_variables(saved_environment))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved_environment)
