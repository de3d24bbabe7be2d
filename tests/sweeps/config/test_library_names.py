"""Names of keys of Hydra, Optuna and submitit are answered with ours."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import optuna
import pytest
import submitit
from submitit.slurm.slurm import _make_sbatch_string

from sweeps.config.library_names import answer_library_name, check_optuna_class
from sweeps.config.request import parse_request
from sweeps.config.schema import RESERVED_SBATCH_PARAMETERS, SlurmLauncherConfig
from sweeps.tuning.definition import OPTUNA_PRUNERS, SamplerName
from tests.sweeps.cli import OVERRIDES
from uniclip.errors import UserError

OWN = {field.name for field in dataclasses.fields(SlurmLauncherConfig)}


@pytest.mark.parametrize(
    "name", ["timeout_min", "mem_gb", "nodes", "gpus_per_node", "tasks_per_node", "cpus_per_task"]
)
def test_submitits_shared_names_are_ours(name: str) -> None:
    assert name in submitit.AutoExecutor._typed_parameters()
    assert name in OWN


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("launcher.slurm_partition", "write launcher.partition=<value>"),
        ("slurm_array_parallelism", "write launcher.array_parallelism=<value>"),
        ("launcher.slurm_additional_parameters", "write launcher.additional_parameters=<value>"),
        ("launcher.slurm_mem", "write launcher.mem_gb=<value>"),
        ("launcher.slurm_exclude", "write launcher.additional_parameters.exclude=<value>"),
        ("launcher.comment", "write launcher.additional_parameters.comment=<value>"),
        ("launcher.slurm_dependency", "the launcher sets this itself"),
        ("launcher.slurm_max_num_timeout", "as often as it makes progress"),
        ("hydra.launcher.timeout_min", "write launcher.timeout_min=<value>"),
        ("hydra/launcher", "launcher=debug"),
        ("hydra.sweep.dir", "write store=<folder>"),
        ("hydra.verbose", "its own runner is not used"),
        ("study_name", "a study is named <sweep>/tuning/<study>/<arm>"),
        ("n_jobs", "write launcher.max_workers=<number>"),
    ],
)
def test_a_key_is_answered_on_the_command_line(key: str, answer: str) -> None:
    with pytest.raises(UserError, match="unknown key") as error:
        parse_request([*OVERRIDES, "launcher=slurm", f"{key}=1"])
    assert answer in str(error.value)
    assert "\n" not in str(error.value)


def test_every_parameter_of_submitits_slurm_executor_has_an_answer() -> None:
    parameters = set(inspect.signature(_make_sbatch_string).parameters) - {"command", "folder"}
    assert len(parameters) > 20
    for name in parameters - {"map_count"}:
        answer = answer_library_name(f"launcher.slurm_{name}")
        assert answer is not None
        if answer.startswith("write launcher.additional_parameters."):
            assert name not in RESERVED_SBATCH_PARAMETERS
        elif answer.startswith("write launcher."):
            assert answer.removeprefix("write launcher.").partition("=")[0] in OWN


def test_other_keys_have_no_answer() -> None:
    for key in ("train.lr", "launcher.partition", "slurm", "timeout_min", "hydrate.x"):
        assert answer_library_name(key) is None


def test_every_sampler_and_pruner_class_of_optuna_is_a_value_or_has_an_answer() -> None:
    classes = {
        "sampler": [n for n in optuna.samplers.__all__ if n.endswith("Sampler")],
        "pruner": [n for n in optuna.pruners.__all__ if n not in OPTUNA_PRUNERS],
    }
    written = set()
    for key, names in classes.items():
        for name in names:
            if name.startswith("Base"):
                continue
            with pytest.raises(UserError, match=f"^unknown {key} '{name}': ") as error:
                check_optuna_class(key, name)
            written.add(str(error.value).rpartition(" write ")[2])
    assert {f"sampler={name}" for name in get_args(SamplerName)} < written
    assert "pruner=none" in written


def test_a_class_of_optuna_is_recognized_in_any_spelling() -> None:
    for value in ("optuna.samplers.GPSampler", "gpsampler"):
        with pytest.raises(UserError, match="write sampler=gp$"):
            check_optuna_class("sampler", value)
    for other in (None, "tpe", "MedianPruner", 3, "sampler"):
        check_optuna_class("sampler", other)
