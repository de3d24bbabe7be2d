"""What auto comes to in a plan: on this machine, and in jobs of Slurm."""

from __future__ import annotations

import pytest

from sweeps.config import device, request
from sweeps.config.device import resolve_device
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig
from sweeps.launchers.sbatch import find_sbatch_variables

WORDS = ("ablation=components", "data=scenes", "seeds=1")


@pytest.fixture(autouse=True)
def machine_with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "detect_device", lambda: "cuda")
    for name in ("SBATCH_GPUS", "SBATCH_GRES", "SBATCH_GPUS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)


def test_workers_of_this_machine_take_its_gpu() -> None:
    assert resolve_device("auto", LocalLauncherConfig()) == "cuda"
    assert resolve_device("cpu", LocalLauncherConfig()) == "cpu"


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        (SlurmLauncherConfig(), "cpu"),
        (SlurmLauncherConfig(gpus_per_node=2), "cuda"),
        (SlurmLauncherConfig(gres="gpu:a100:1"), "cuda"),
        (SlurmLauncherConfig(gres="lustre:1"), "cpu"),
        (SlurmLauncherConfig(additional_parameters={"gpus_per_task": 1}), "cuda"),
    ],
)
def test_jobs_take_the_gpus_that_they_request(launcher: SlurmLauncherConfig, expected: str) -> None:
    """Whatever the machine has from which they are submitted."""
    assert resolve_device("auto", launcher) == expected


def test_exported_options_of_sbatch_request_gpus_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_GPUS_PER_NODE", "1")
    assert resolve_device("auto", SlurmLauncherConfig()) == "cuda"


@pytest.mark.parametrize(
    ("variables", "launcher", "expected"),
    [
        ({"SBATCH_GRES": "gpu:1"}, SlurmLauncherConfig(), "cuda"),
        ({"SBATCH_GRES": "lustre:1,gres/shard:4"}, SlurmLauncherConfig(), "cuda"),
        ({"SBATCH_GRES": "lustre:1"}, SlurmLauncherConfig(), "cpu"),
        ({"SBATCH_GPU_BIND": "none", "SBATCH_GRES_FLAGS": "x"}, SlurmLauncherConfig(), "cpu"),
        ({"SBATCH_GPUS": "1"}, SlurmLauncherConfig(gpus_per_node=0), "cpu"),
        ({"SBATCH_GPUS": "1"}, SlurmLauncherConfig(gres="lustre:1"), "cpu"),
    ],
)
def test_only_exported_options_that_apply_and_request_gpus_count(
    variables: dict[str, str],
    launcher: SlurmLauncherConfig,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert resolve_device("auto", launcher) == expected
    assert find_sbatch_variables(launcher).requests_gpus == (expected == "cuda")


@pytest.mark.parametrize("words", [(), ("runtime.device=auto",)])
def test_a_plan_knows_the_device_of_its_launcher(words: tuple[str, ...]) -> None:
    plan = request.parse_request([*WORDS, *words]).build_plan().plan
    on_cpu = request.parse_request([*WORDS, "runtime.device=cpu"]).build_plan().plan
    assert (plan.device, on_cpu.device) == ("cuda", "cpu")
    assert [c.run_id for c in plan.cells] == [c.run_id for c in on_cpu.cells]
    assert plan.sweep_id == on_cpu.sweep_id
    assert request.parse_configs([*words])[1].runtime.device == "auto"


def test_cells_take_the_device_of_their_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has on which the sweep is planned, or planned once more."""
    plans = []
    for name in ("cuda", "cpu"):
        monkeypatch.setattr(device, "detect_device", lambda name=name: name)
        plans.append(request.parse_request([*WORDS]).build_plan().plan)
    assert [plan.device for plan in plans] == ["cuda", "cpu"]
    for plan in plans:
        assert plan.run_only_values(plan.reference)["runtime"]["device"] == "auto"
    assert plans[0].base_config == plans[1].base_config
