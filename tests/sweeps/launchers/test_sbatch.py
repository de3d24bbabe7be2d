"""The options and the script of a job, and what submitit must provide for them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import submitit.slurm.slurm as submitit_slurm

from sweeps.claims import process
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers import sbatch
from sweeps.launchers.job_submitter import JobSubmitter, SubmitOptions
from sweeps.launchers.sbatch import build_sbatch_parameters
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


def parameters(
    *, is_follow_up: bool = False, num_cores: int = 1, dependency_ids: Any = (), **keys: Any
) -> dict[str, Any]:
    """The parameters of a job for these keys of the launcher."""
    return build_sbatch_parameters(
        SlurmLauncherConfig(**keys),
        token="0123",
        snapshot_folder=CODE,
        num_cores=num_cores,
        is_follow_up=is_follow_up,
        dependency_ids=dependency_ids,
    )


# ---- as parameters of submitit -------------------------------------------------------------------


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
        ({"timeout_min": 90}, "time", 90),
        ({"array_parallelism": 7}, "array_parallelism", 7),
        ({"signal_delay_s": 200}, "signal_delay_s", 200),
        ({"num_cores": 3}, "cpus_per_task", 3),
        ({"num_cores": 3, "cpus_per_task": 8}, "cpus_per_task", 8),
    ],
)
def test_each_key_of_the_launcher_becomes_a_parameter(
    keys: dict[str, Any], name: str, value: Any
) -> None:
    assert parameters(**keys)[name] == value


def test_keys_that_are_not_set_are_left_to_the_cluster() -> None:
    unset = {"partition", "account", "qos", "constraint", "gres", "gpus_per_node", "mem"}
    assert not unset & set(parameters())


def test_every_job_is_held_and_may_be_requeued() -> None:
    assert parameters()["additional_parameters"] == {"hold": True, "requeue": True}
    extended = parameters(additional_parameters={"reservation": "r", "exclude": "n1"})[
        "additional_parameters"
    ]
    assert extended == {"hold": True, "requeue": True, "reservation": "r", "exclude": "n1"}


def test_a_follow_up_asks_for_one_process_on_one_node() -> None:
    large = {
        "nodes": 4,
        "gpus_per_node": 8,
        "gres": "gpu:8",
        "cpus_per_task": 16,
        "timeout_min": 2000,
    }
    follow_up = parameters(is_follow_up=True, num_cores=16, partition="gpu", **large)
    assert (follow_up["nodes"], follow_up["ntasks_per_node"], follow_up["cpus_per_task"]) == (
        1,
        1,
        1,
    )
    assert follow_up["time"] < 2000
    assert not {"gres", "gpus_per_node"} & set(follow_up)
    assert follow_up["partition"] == "gpu"
    elsewhere = parameters(is_follow_up=True, partition="gpu", follow_up_partition="cpu")
    assert elsewhere["partition"] == "cpu"
    assert parameters(partition="gpu", follow_up_partition="cpu")["partition"] == "gpu"


def test_setup_lines_of_the_user_come_after_the_import_path() -> None:
    lines = parameters(setup=("module load cuda", "nvidia-smi"))["setup"]
    assert lines[0].startswith("export PYTHONPATH='/of the/code'")
    assert lines[-2:] == ["module load cuda", "nvidia-smi"]


@pytest.mark.parametrize("offline", [True, False])
def test_offline_jobs_use_no_network(offline: bool) -> None:
    lines = "\n".join(parameters(offline=offline)["setup"])
    assert ("HF_HUB_OFFLINE=1" in lines and "TRANSFORMERS_OFFLINE=1" in lines) == offline


# ---- as a script ---------------------------------------------------------------------------

SBATCH = (
    '#!/bin/sh\nfor file; do :; done\ncp "$file" {script_path}\nenv > {script_path}.env\n{answer}\n'
)
"""Copies the script that it is given, and writes its environment."""


@pytest.fixture
def submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """Submits to an sbatch that accepts everything; returns the job's id and its script."""
    programs, script_path = tmp_path / "bin", tmp_path / "script"
    programs.mkdir()
    for name in ("sbatch", "srun"):
        stub = SBATCH.format(script_path=script_path, answer="echo Submitted batch job 77")
        (programs / name).write_text(stub)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def act(
        submission_intent: SubmissionIntent,
        dependency_ids: tuple[str, ...] = (),
        store: Path = tmp_path / "store",
        **keys: Any,
    ) -> tuple[str, str]:
        plan = planned(2, 0.0).plan
        launcher = SlurmLauncherConfig(**keys)
        options = SubmitOptions(
            store=Store(store),
            sweep_id=plan.sweep_id,
            launcher_config=launcher,
            num_cores=2,
            follow_up_argv=(),
        )
        return JobSubmitter(options, CODE, print).call_sbatch(
            submission_intent, dependency_ids
        ), script_path.read_text()

    return act


def test_one_script_submits_an_array_of_all_tasks(submit: Any) -> None:
    elements = tuple((f"r{i}",) for i in range(5))
    job, script = submit(intent(elements=elements), array_parallelism=2, partition="gpu")
    options = set(re.findall(r"^#SBATCH (--.*)$", script, re.MULTILINE))
    assert job == "77"
    assert {"--array=0-4%2", "--hold", "--requeue", "--job-name=uniclip-0123"} <= options
    assert {"--partition=gpu", "--time=240", "--cpus-per-task=2", "--nodes=1"} <= options
    assert any(re.fullmatch(r"--signal=USR2@120", option) for option in options)


def test_srun_gets_the_cpus_and_starts_the_job_module(submit: Any) -> None:
    """Since Slurm 22.05 srun does not inherit --cpus-per-task from sbatch."""
    _, script = submit(intent(), python="apptainer exec image.sif python", cpus_per_task=6)
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    assert " --cpus-per-task=6 " in line
    assert " --kill-on-bad-exit=1 " in line
    assert re.search(
        r"apptainer exec image\.sif python -u -m sweeps\.cli\.slurm_job \S+ \S+ 0123$", line
    )
    assert "#SBATCH --cpus-per-task=6" in script


def test_a_follow_up_depends_on_the_other_jobs(submit: Any) -> None:
    _, script = submit(intent("follow_up", ((),)), dependency_ids=("70", "71"))
    assert "#SBATCH --dependency=afterany:70:71" in script
    assert "--array" not in script
    assert "--dependency" not in submit(intent())[1]


def read_environment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of the last call of sbatch."""
    text = (tmp_path / "script.env").read_text()
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def test_options_of_the_surrounding_job_are_not_passed_on(
    submit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_JOB_PARTITION", "SBATCH_MEM_BIND_TYPE", "SLURM_CONF"):
        monkeypatch.setenv(name, "of-the-job")
    submit(intent())
    environment = read_environment(tmp_path)
    assert [name for name in environment if name.startswith(("SLURM_", "SBATCH_"))] == [
        "SLURM_CONF"
    ]
    assert os.environ["SLURM_JOB_ID"] == "of-the-job"


EXPORTED = {
    "SBATCH_ACCOUNT": "lab",
    "SBATCH_PARTITION": "other",
    "SBATCH_GRES": "gpu:1",
    "SBATCH_TIMELIMIT": "5",
    "SBATCH_WAIT": "1",
    "SBATCH_NO_REQUEUE": "1",
}


@pytest.mark.parametrize("in_job", [False, True])
@pytest.mark.parametrize(
    ("kind", "keys", "names"),
    [
        ("run", {}, {"ACCOUNT", "PARTITION", "GRES"}),
        ("run", {"partition": "gpu"}, {"ACCOUNT", "GRES"}),
        ("run", {"gpus_per_node": 2}, {"ACCOUNT", "PARTITION"}),
        ("run", {"account": "x", "additional_parameters": {"gpus": 1}}, {"PARTITION"}),
        ("follow_up", {}, {"ACCOUNT", "PARTITION"}),
        ("follow_up", {"follow_up_partition": "cpu"}, {"ACCOUNT"}),
    ],
)
def test_exported_options_apply_unless_the_launcher_sets_them(
    submit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_job: bool,
    kind: str,
    keys: dict[str, Any],
    names: set[str],
) -> None:
    """sbatch would prefer them to the options in the script."""
    for name, value in EXPORTED.items():
        monkeypatch.setenv(name, value)
    if in_job:
        monkeypatch.setenv("SLURM_JOB_ID", "5")
    submit(intent(kind), **keys)
    environment = read_environment(tmp_path)
    passed_on = {n.removeprefix("SBATCH_") for n in environment if n.startswith("SBATCH_")}
    assert passed_on == names


def test_a_rejection_has_the_message_of_sbatch(submit: Any, tmp_path: Path) -> None:
    answer = "echo 'sbatch: error: Invalid account' >&2; exit 1"
    (tmp_path / "bin" / "sbatch").write_text(
        SBATCH.format(script_path=tmp_path / "script", answer=answer)
    )
    with pytest.raises(SubmissionRejected, match="Invalid account"):
        submit(intent())


# ---- the whole script ----------------------------------------------------------------------------

SCRIPT = """\
#!/bin/bash

# Parameters
#SBATCH --array=0-1%2
#SBATCH --cpus-per-task=2
#SBATCH --error=LOGS/%A_%a_0_log.err
#SBATCH --gpus-per-node=1
#SBATCH --hold
#SBATCH --job-name=uniclip-0123
#SBATCH --mem=8192MB
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=LOGS/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --reservation=r
#SBATCH --signal=USR2@120
#SBATCH --time=240

# setup
export PYTHONPATH='/of the/code'${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output LOGS/%A_%a_%t_log.out --error LOGS/%A_%a_%t_log.err \
--cpus-per-task=2 --kill-on-bad-exit=1 --export=ALL \
python3 -u -m sweeps.cli.slurm_job STORE SWEEP 0123
"""


def test_the_script_of_an_array_is_this_text(submit: Any, tmp_path: Path) -> None:
    _, script = submit(
        intent(elements=(("a",), ("b", "c"))),
        partition="gpu",
        gpus_per_node=1,
        mem_gb=8.0,
        setup=("module load cuda",),
        python="python3",
        offline=True,
        additional_parameters={"reservation": "r"},
    )
    store, sweep_id = Store(tmp_path / "store"), planned(2, 0.0).plan.sweep_id
    names = {
        str(store.get_sweep(sweep_id).worker_logs_path): "LOGS",
        str(store.root): "STORE",
        sweep_id: "SWEEP",
    }
    for text, name in names.items():
        script = script.replace(text, name)
    assert script == SCRIPT


def test_a_submitit_without_its_function_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contract with a private part of submitit; see `sbatch.build_script`."""
    monkeypatch.delattr(submitit_slurm, sbatch.SCRIPT_FUNCTION)
    with pytest.raises(RuntimeError, match="submitit .* has no function _make_sbatch_string"):
        sbatch.build_script(tmp_path, "python", [], {})


UNUSUAL = "a b (1)[2]{3} josé 你好 #4 100% %j%%A_%a e=f ~g $HOME & ; , ' \" ! * ? < > | `x` @"
"""A folder whose name has what Slurm, submitit, a shell and our grammar read as their own."""


def test_logs_of_a_store_below_any_folder_lie_in_it(submit: Any, tmp_path: Path) -> None:
    store = tmp_path / UNUSUAL
    job, script = submit(intent(elements=(("a",), ("b",))), store=store)
    options = re.findall(r"^#SBATCH (--(?:output|error)=.*)$", script, re.MULTILINE)
    (command,) = [line for line in script.splitlines() if line.startswith("srun ")]
    words = [*shlex.split("\n".join(options)), *shlex.split(command)]
    log_folder = Store(store).get_sweep(planned(2, 0.0).plan.sweep_id).worker_logs_path
    patterns = [word for word in words if "_log." in word]
    assert len(patterns) == 4
    for pattern in patterns:
        folder, name = re.split(r"(?<=worker_logs)/", pattern)
        assert folder.removeprefix("--output=").removeprefix("--error=").replace("%%", "%") == str(
            log_folder
        )
        assert name.startswith("%A_%a_")
    assert str(store) in words
    assert [path.name for path in log_folder.iterdir()] == [f"{job}_submission.sh"]


def test_the_options_of_a_test_submission_are_those_of_a_cell() -> None:
    launcher = SlurmLauncherConfig(partition="gpu", additional_parameters={"reservation": "r"})
    options = set(sbatch.build_sbatch_options(launcher, 3))
    assert {"--partition=gpu", "--cpus-per-task=3", "--requeue", "--reservation=r"} <= options
    assert not {"--hold", "--setup"} & {option.split("=")[0] for option in options}


def test_parameters_become_options_of_sbatch() -> None:
    parameters = {
        "job_name": "x",
        "partition": "gpu",
        "gpus_per_node": 2,
        "setup": ["module load x"],
        "additional_parameters": {"hold": True, "requeue": True, "reservation": "r"},
    }
    options = ("--partition=gpu", "--gpus-per-node=2", "--requeue", "--reservation=r")
    assert sbatch.format_sbatch_options(parameters) == options


@pytest.mark.parametrize(
    ("num_tasks", "job_id", "pattern"), [(1, "123", "%j"), (3, "123_2", "%A_%a")]
)
def test_logs_and_scripts_are_where_submitits_jobs_look(
    num_tasks: int, job_id: str, pattern: str, tmp_path: Path
) -> None:
    script = sbatch.build_script(tmp_path, None, ["a"], parameters(), num_tasks)
    job: submitit_slurm.SlurmJob[None] = submitit_slurm.SlurmJob(folder=tmp_path, job_id=job_id)
    expanded = script.replace(pattern, job_id).replace("%t", "0")
    assert f"--output={job.paths.stdout}" in expanded
    assert f"--output {job.paths.stdout}" in expanded, "of the first task"
    assert f"--error={job.paths.stderr}" in expanded
    assert job.paths.submission_file == tmp_path / "123_submission.sh"
