"""What auto comes to in a plan: on this machine, and in jobs of Slurm."""

from __future__ import annotations

import pytest

from sweeps.config import device, request
from sweeps.config.device import resolve_device
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig

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


@pytest.mark.parametrize("words", [(), ("runtime.device=auto",)])
def test_a_plan_holds_the_device_and_the_same_runs(words: tuple[str, ...]) -> None:
    plan = request.parse_request([*WORDS, *words]).build_plan().plan
    on_cpu = request.parse_request([*WORDS, "runtime.device=cpu"]).build_plan().plan
    assert (plan.device, on_cpu.device) == ("cuda", "cpu")
    assert [c.run_id for c in plan.cells] == [c.run_id for c in on_cpu.cells]
    assert plan.sweep_id == on_cpu.sweep_id
    assert request.parse_configs([*words])[1].runtime.device == "cuda"
