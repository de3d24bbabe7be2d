"""Names in Hydra, Optuna and submitit that are none here, and what does the same."""

from __future__ import annotations

import dataclasses

from sweeps.config.schema import (
    RESERVED_SBATCH_PARAMETERS,
    SBATCH_TO_LAUNCHER_KEY,
    SlurmLauncherConfig,
)
from uniclip.errors import UserError

HYDRA_ANSWERS = {
    "hydra/launcher": "write launcher=slurm, launcher=local or launcher=debug",
    "hydra/sweeper": "lists of values make arms (train.learning_rate=1e-3,2e-3), and the command "
    "tune samples values with Optuna",
    "hydra.sweeper": "lists of values make arms (train.learning_rate=1e-3,2e-3), and the command "
    "tune samples values with Optuna",
    "hydra.run": "write store=<folder>: a run is named by a hash of its configuration",
    "hydra.sweep": "write store=<folder>: a sweep is named by a hash of its arms",
    "hydra.job": "cells are named <arm>/<seed>, and list keys shows what can be set",
    "hydra.searchpath": "write conf_dir=<folder> for your YAML files",
    "hydra": "Hydra composes the configuration, and its own runner is not used: see list keys",
}
"""Start of a key of Hydra's own configuration -> what to write; the longest start counts."""
OPTUNA_ANSWERS = {
    "study_name": "a study is named <sweep>/tuning/<study>/<arm>",
    "load_if_exists": "the same command always continues a study",
    "direction": "the validation score is maximized",
    "n_jobs": "write launcher.max_workers=<number>, and parallel_trials=<number> of tune",
    "n_startup_trials": "write sampler_options={n_startup_trials: <number>}, or pruner_options=",
}
"""Argument of `optuna.create_study`, `optimize` or a sampler -> what to do instead."""
ONE_SCORE = "a trial has one score: choose another"
OPTUNA_CLASS_ANSWERS = {
    "TPESampler": "write sampler=tpe",
    "GPSampler": "write sampler=gp",
    "CmaEsSampler": "write sampler=cmaes",
    "QMCSampler": "write sampler=qmc",
    "RandomSampler": "write sampler=random",
    "GridSampler": "it is not offered; lists of values are crossed (train.learning_rate=1e-3,2e-3)",
    "BruteForceSampler": "it is not offered; lists of values are crossed "
    "(train.learning_rate=1e-3,2e-3)",
    "PartialFixedSampler": "it is not offered; leave a key out of the search space to fix it",
    "NSGAIISampler": f"it is for several objectives, and {ONE_SCORE}",
    "NSGAIIISampler": f"it is for several objectives, and {ONE_SCORE}",
    "NopPruner": "write pruner=none",
    "WilcoxonPruner": f"it compares scores problem by problem, and {ONE_SCORE}",
}
"""Class of Optuna that is no value of `sampler` or `pruner` -> what to write instead."""
SUBMITIT_ANSWERS = {
    "max_num_timeout": "a cell at its time limit writes a checkpoint and is requeued, as often as "
    "it makes progress",
    "stderr_to_stdout": "the output of a cell is in one file, which logs prints",
    "srun_args": "the launcher sets the arguments of srun",
    "use_srun": "cells are always started with srun",
    "job_name": "jobs are named after their submission, so that they are found again",
    "submitit_folder": "folders and logs of jobs are in <store>/sweeps/<sweep>/worker_logs",
    "num_gpus": "write launcher.gpus_per_node=<value>",
    "gpus_per_task": "write launcher.gpus_per_node=<value>; each task has one GPU of the node",
}
"""Parameter of submitit or its Hydra plug-in, without slurm_ -> what is done instead."""
SBATCH_OPTIONS = (
    *("comment", "exclude", "exclusive", "hint", "licenses", "mail_type", "mail_user"),
    *("nodelist", "reservation"),
)
"""Options of sbatch that are typed without slurm_, as keys of the launcher."""


def answer_library_name(key: str) -> str | None:
    """Return what to write instead of a key of Hydra, Optuna or submitit; None for other keys."""
    if key in OPTUNA_ANSWERS:
        return OPTUNA_ANSWERS[key]
    starts = [s for s in HYDRA_ANSWERS if key == s or key.startswith((f"{s}.", f"{s}/"))]
    is_launcher = key.startswith(("launcher.", "hydra.launcher.")) or "." not in key
    leaf = key.rpartition(".")[2]
    name = leaf.removeprefix("slurm_")
    is_option = key.startswith("launcher.") and name in SBATCH_OPTIONS
    is_submitit = is_option or is_launcher and (leaf != name or key.startswith("hydra.launcher."))
    if is_launcher and name in SUBMITIT_ANSWERS:
        return SUBMITIT_ANSWERS[name]
    if is_submitit:
        return _answer_slurm_parameter(name)
    return HYDRA_ANSWERS[max(starts, key=len)] if starts else None


def check_optuna_class(key: str, value: object) -> None:
    """Raise `UserError` if the value of `sampler` or `pruner` is a class of Optuna and none here.

    Args:
        key: `sampler` or `pruner`.
        value: The class, in any case, with or without its module; other values are accepted.
    """
    answers = {name.lower(): answer for name, answer in OPTUNA_CLASS_ANSWERS.items()}
    answer = answers.get(str(value).rpartition(".")[2].lower())
    if answer is not None:
        raise UserError(f"unknown {key} {str(value)!r}: {answer}")


def _answer_slurm_parameter(name: str) -> str:
    """Return how a parameter of submitit's Slurm executor is set."""
    launcher_keys = {field.name for field in dataclasses.fields(SlurmLauncherConfig)}
    launcher_key = name if name in launcher_keys else SBATCH_TO_LAUNCHER_KEY.get(name)
    if launcher_key is not None:
        return f"write launcher.{launcher_key}=<value>, with launcher=slurm"
    if name in RESERVED_SBATCH_PARAMETERS:
        return "the launcher sets this itself; leave it out"
    return f"write launcher.additional_parameters.{name}=<value>, with launcher=slurm"
