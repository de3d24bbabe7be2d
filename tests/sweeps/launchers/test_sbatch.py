"""What a launcher's keys become for sbatch and srun, and how runs share a job."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.slurm import (
    MIN_JOB_SECONDS,
    SlurmLauncher,
    SubmitOptions,
    build_sbatch_parameters,
    group_runs,
)
from sweeps.launchers.submissions import SubmissionRejected
from tests.helpers.trivial_sweep import planned
from uniclip.store import Store, SubmissionIntent

CODE = Path("/of the/code")


def intent(
    kind: Any = "run", elements: tuple[tuple[str, ...], ...] = (("a",),)
) -> SubmissionIntent:
    return SubmissionIntent(
        token="0123",
        kind=kind,
        array_tasks=elements,
        last_attempts={},
        submitter=process.make_claim_record({}),
    )


def asked(kind: Any = "run", threads: int = 1, **keys: Any) -> dict[str, Any]:
    return build_sbatch_parameters(SlurmLauncherConfig(**keys), intent(kind), CODE, threads)


# ---- in submitit's words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "name", "value"),
    [
        ({"partition": "gpu"}, "partition", "gpu"),
        ({"account": "lab"}, "account", "lab"),
        ({"qos": "high"}, "qos", "high"),
        ({"constraint": "a100"}, "constraint", "a100"),
        ({"gres": "gpu:a100:2"}, "gres", "gpu:a100:2"),
        ({"nodes": 2}, "nodes", 2),
        ({"gpus_per_node": 4}, "gpus_per_node", 4),
        ({"gpus_per_node": 4}, "ntasks_per_node", 4),
        ({"gpus_per_node": 4, "tasks_per_node": 2}, "ntasks_per_node", 2),
        ({}, "ntasks_per_node", 1),
        ({"mem_gb": 1.5}, "mem", "1536MB"),
        ({"minutes": 90}, "time", 90),
        ({"array_parallelism": 7}, "array_parallelism", 7),
        ({"signal_seconds": 200}, "signal_delay_s", 200),
        ({"threads": 3}, "cpus_per_task", 3),
        ({"threads": 3, "cpus_per_task": 8}, "cpus_per_task", 8),
    ],
)
def test_each_key_is_asked_for(keys: dict[str, Any], name: str, value: Any) -> None:
    assert asked(**keys)[name] == value


def test_what_is_not_said_is_left_to_the_cluster() -> None:
    lacking = {"partition", "account", "qos", "constraint", "gres", "gpus_per_node", "mem"}
    assert not lacking & set(asked())


def test_every_job_is_held_and_may_be_requeued() -> None:
    assert asked()["additional_parameters"] == {"hold": True, "requeue": True}
    more = asked(extra={"reservation": "r", "exclude": "n1"})["additional_parameters"]
    assert more == {"hold": True, "requeue": True, "reservation": "r", "exclude": "n1"}


def test_a_follow_up_asks_for_little() -> None:
    big = {"nodes": 4, "gpus_per_node": 8, "gres": "gpu:8", "cpus_per_task": 16, "minutes": 2000}
    small = asked("follow", threads=16, partition="gpu", **big)
    assert (small["nodes"], small["ntasks_per_node"], small["cpus_per_task"]) == (1, 1, 1)
    assert small["time"] < 2000
    assert not {"gres", "gpus_per_node"} & set(small)
    assert small["partition"] == "gpu"
    elsewhere = asked("follow", partition="gpu", follow_up_partition="cpu")
    assert elsewhere["partition"] == "cpu"
    assert asked("run", partition="gpu", follow_up_partition="cpu")["partition"] == "gpu"


def test_the_users_lines_come_after_those_that_find_the_code() -> None:
    lines = asked(setup=("module load cuda", "nvidia-smi"))["setup"]
    assert lines[0].startswith("export PYTHONPATH='/of the/code'")
    assert lines[-2:] == ["module load cuda", "nvidia-smi"]


@pytest.mark.parametrize("offline", [True, False])
def test_nodes_without_a_network_are_told_so(offline: bool) -> None:
    lines = "\n".join(asked(offline=offline)["setup"])
    assert ("HF_HUB_OFFLINE=1" in lines and "TRANSFORMERS_OFFLINE=1" in lines) == offline


# ---- as sbatch gets it ---------------------------------------------------------------------------

SBATCH = '#!/bin/sh\nfor file; do :; done\ncp "$file" {kept}\nenv > {kept}.env\n{answer}\n'
"""Keeps the script that it was given, and what surrounded it."""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Submits through submitit to an sbatch that takes everything: the job's id, and its script."""
    programs, kept = tmp_path / "bin", tmp_path / "kept"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        said = SBATCH.format(kept=kept, answer="echo Submitted batch job 77")
        (programs / name).write_text(said)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def act(ordered: SubmissionIntent, after: tuple[str, ...] = (), **keys: Any) -> tuple[str, str]:
        store, plan = Store(tmp_path / "store"), planned(2, 0.0).plan
        launcher = SlurmLauncherConfig(**keys)
        order = SubmitOptions(
            store=store, sweep=plan.sweep_id, launcher_config=launcher, threads=2, follow_up_argv=()
        )
        return SlurmLauncher(order, CODE, print)._sbatch(ordered, after), kept.read_text()

    return act


def test_one_script_asks_for_an_array_of_all_elements(submit: Any) -> None:
    elements = tuple((f"r{i}",) for i in range(5))
    job, script = submit(intent(elements=elements), array_parallelism=2, partition="gpu")
    options = set(re.findall(r"^#SBATCH (--.*)$", script, re.MULTILINE))
    assert job == "77"
    assert {"--array=0-4%2", "--hold", "--requeue", "--job-name=uniclip-0123"} <= options
    assert {"--partition=gpu", "--time=240", "--cpus-per-task=2", "--nodes=1"} <= options
    assert any(re.fullmatch(r"--signal=USR2@120", option) for option in options)


def test_srun_passes_the_cpus_on_and_starts_our_own_door(submit: Any) -> None:
    """Since Slurm 22.05 srun does not take --cpus-per-task over from sbatch."""
    _, script = submit(intent(), python="apptainer exec image.sif python", cpus_per_task=6)
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    assert " --cpus-per-task=6 " in line
    assert " --kill-on-bad-exit=1 " in line
    assert re.search(
        r"apptainer exec image\.sif python -u -m sweeps\.cli\.slurm_job \S+ \S+ 0123$", line
    )
    assert "#SBATCH --cpus-per-task=6" in script


def test_a_follow_up_waits_for_the_end_of_the_others(submit: Any) -> None:
    _, script = submit(intent("follow", ((),)), after=("70", "71"))
    assert "#SBATCH --dependency=afterany:70:71" in script
    assert "--array" not in script
    assert "--dependency" not in submit(intent())[1]


def test_a_controller_in_a_job_hands_nothing_of_it_on(
    submit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "of-the-job")
    submit(intent())
    around = dict(re.findall(r"^(\w+)=(.*)$", (tmp_path / "kept.env").read_text(), re.MULTILINE))
    assert not {"SLURM_JOB_ID", "SBATCH_PARTITION"} & set(around)
    assert around["SLURM_CONF"] == "of-the-job"
    assert os.environ["SLURM_JOB_ID"] == "of-the-job"


def test_what_sbatch_says_no_to_is_refused_in_its_words(submit: Any, tmp_path: Path) -> None:
    answer = "echo 'sbatch: error: Invalid account' >&2; exit 1"
    (tmp_path / "bin" / "sbatch").write_text(SBATCH.format(kept=tmp_path / "kept", answer=answer))
    with pytest.raises(SubmissionRejected, match="Invalid account"):
        submit(intent())


# ---- how runs share a job ------------------------------------------------------------------------

RUNS = ["a", "b", "c", "d", "e"]
THIRD = MIN_JOB_SECONDS / 3


@pytest.mark.parametrize(
    ("seconds", "pack", "groups"),
    [
        ({}, 2, ["ab", "cd", "e"]),
        ({}, 9, ["abcde"]),
        (dict.fromkeys(RUNS, 1.0), 1, ["a", "b", "c", "d", "e"]),
        ({}, None, ["a", "b", "c", "d", "e"]),
        (dict.fromkeys(RUNS, 1.0), None, ["abcde"]),
        (dict.fromkeys(RUNS, THIRD), None, ["abc", "de"]),
        (dict.fromkeys(RUNS, 2 * MIN_JOB_SECONDS), None, ["a", "b", "c", "d", "e"]),
        ({"a": THIRD, "b": THIRD, "d": THIRD, "e": 1.0}, None, ["ab", "c", "de"]),
    ],
)
def test_short_runs_share_a_job(
    seconds: dict[str, float], pack: int | None, groups: list[str]
) -> None:
    """None of unknown length shares one unasked."""
    assert ["".join(group) for group in group_runs(RUNS, seconds, pack)] == groups


def test_no_runs_make_no_jobs() -> None:
    assert group_runs([], {}, None) == group_runs([], {}, 3) == []
