"""The variables of the environment that Slurm's commands get."""

from __future__ import annotations

import os

import pytest

from sweeps.slurm_environment import (
    build_command_environment,
    collect_sbatch_variables,
    get_option_name,
    restore_sbatch_variables,
    select_sbatch_variables,
)

QUERY_FILTERS = """
    SQUEUE_ACCOUNT SQUEUE_ALL SQUEUE_ARRAY_UNIQUE SQUEUE_FEDERATION SQUEUE_FORMAT SQUEUE_FORMAT2
    SQUEUE_LICENSES SQUEUE_LOCAL SQUEUE_NAMES SQUEUE_PARTITION SQUEUE_QOS SQUEUE_SORT SQUEUE_STATES
    SQUEUE_USERS SACCT_FEDERATION SACCT_FORMAT SACCT_LOCAL SCONTROL_ALL SCONTROL_FUTURE
    SCONTROL_LOCAL SINFO_ALL SINFO_FORMAT SINFO_PARTITION SINFO_SORT SCANCEL_ACCOUNT SCANCEL_NAME
    SCANCEL_INTERACTIVE SCANCEL_PARTITION SCANCEL_QOS SCANCEL_STATE SCANCEL_USER SCANCEL_VERBOSE
    SLURM_TIME_FORMAT SLURM_BITSTR_LEN
""".split()
"""As in the sections "environment variables" of the manual pages of Slurm 22.05 and 23.11."""
JOB_VARIABLES = "SLURM_JOB_ID SLURM_JOB_PARTITION SLURM_EXPORT_ENV SRUN_DEBUG SUBMITIT_EXECUTOR"


def test_no_variable_filters_or_formats_what_is_queried() -> None:
    names = [*QUERY_FILTERS, *JOB_VARIABLES.split(), "SBATCH_PARTITION"]
    environment = {**dict.fromkeys(names, "x"), "PATH": "/bin", "SLURMD_NODENAME": "n1"}
    connection = {"SLURM_CONF": "/etc/s", "SLURM_CLUSTERS": "far", "SLURM_JWT": "t"}
    assert build_command_environment({**environment, **connection}) == {
        "PATH": "/bin",
        "SLURMD_NODENAME": "n1",
        **connection,
    }


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ("SBATCH_ACCOUNT", "account"),
        ("SBATCH_TIMELIMIT", "time"),
        ("SBATCH_MEM_PER_NODE", "mem"),
        ("SBATCH_ARRAY_INX", "array"),
        ("SBATCH_GPUS_PER_NODE", "gpus_per_node"),
        ("SBATCH_REQ_SWITCH", "switches"),
    ],
)
def test_a_variable_of_sbatch_sets_an_option(variable: str, option: str) -> None:
    assert get_option_name(variable) == option


@pytest.mark.parametrize(
    ("options", "is_follow_up", "applied"),
    [
        ((), False, {"ACCOUNT", "MEM_PER_CPU", "EXCLUSIVE", "GPUS", "RESERVATION"}),
        (("account",), False, {"MEM_PER_CPU", "EXCLUSIVE", "GPUS", "RESERVATION"}),
        (("mem",), False, {"ACCOUNT", "EXCLUSIVE", "GPUS", "RESERVATION"}),
        (("gres",), False, {"ACCOUNT", "MEM_PER_CPU", "EXCLUSIVE", "RESERVATION"}),
        ((), True, {"ACCOUNT", "MEM_PER_CPU", "RESERVATION"}),
    ],
)
def test_exported_options_apply_unless_something_else_sets_them(
    options: tuple[str, ...], is_follow_up: bool, applied: set[str]
) -> None:
    names = (
        "ACCOUNT MEM_PER_CPU EXCLUSIVE GPUS RESERVATION TIMELIMIT OUTPUT JOB_NAME WAIT CLUSTERS"
    ).split()
    environment = {f"SBATCH_{name}": "x" for name in names}
    variables = select_sbatch_variables(environment, options, is_follow_up=is_follow_up)
    assert {name.removeprefix("SBATCH_") for name in variables.applied} == applied
    assert {**variables.applied, **variables.overridden} == environment
    assert build_command_environment(environment, variables.applied) == variables.applied


def test_one_sentence_names_every_variable() -> None:
    environment = {"SBATCH_QOS": "long", "SBATCH_TIMELIMIT": "5", "HOME": "/"}
    variables = select_sbatch_variables(environment, ())
    assert variables.describe() == (
        "the jobs get SBATCH_QOS=long of your environment; SBATCH_TIMELIMIT=5 of your environment "
        "does not apply: keys of the launcher set these options"
    )
    assert variables.get_option("qos") == "long"
    assert variables.get_option("time") is None
    assert not variables.requests_gpus
    assert select_sbatch_variables({"SBATCH_GPUS": "2"}, ()).requests_gpus
    assert select_sbatch_variables({"HOME": "/"}, ()).describe() == ""


def test_in_a_job_only_what_slurm_has_set_is_forgotten() -> None:
    exported = {"SBATCH_ACCOUNT": "lab"}
    bound = {"SBATCH_CPU_BIND": "x", "SBATCH_MEM_BIND_LIST": "x", "SBATCH_MEM_BIND": "x"}
    assert collect_sbatch_variables({**exported, **bound}) == {**exported, **bound}
    assert collect_sbatch_variables({**exported, **bound, "SLURM_JOB_ID": "1"}) == exported


@pytest.mark.parametrize("recorded", [None, {}, {"SBATCH_ACCOUNT": "lab"}])
def test_a_follow_up_submits_with_the_variables_of_the_command_before_it(
    monkeypatch: pytest.MonkeyPatch, recorded: dict[str, str] | None
) -> None:
    monkeypatch.setattr(os, "environ", {"SBATCH_QOS": "site", "HOME": "/"})
    restore_sbatch_variables(recorded)
    expected = {"SBATCH_QOS": "site"} if recorded is None else recorded
    assert collect_sbatch_variables(os.environ) == expected
