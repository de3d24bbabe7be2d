"""Settings of a sweep: seeds, launchers, what is run again."""

from __future__ import annotations

import re

import pytest

from sweeps.claims.status import RunState
from sweeps.config import schema
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.launchers.sbatch import build_sbatch_options
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.store import RunStatus


def test_everything_that_the_launcher_requests_has_a_key_or_is_reserved() -> None:
    """`launcher.additional_parameters` cannot request it a second time."""
    every_key = SlurmLauncherConfig(
        partition="p", account="a", qos="q", constraint="c", gres="gpu", gpus_per_node=1, mem_gb=1
    )
    options = {o.split("=")[0].removeprefix("--") for o in build_sbatch_options(every_key, 1)}
    assert {name.replace("-", "_") for name in options} == {
        *schema.SBATCH_TO_LAUNCHER_KEY,
        "requeue",
    }
    keys = set(SlurmLauncherConfig.__dataclass_fields__)
    assert set(schema.SBATCH_TO_LAUNCHER_KEY.values()) < keys


@pytest.mark.parametrize(
    ("launcher", "device", "message"),
    [
        (SlurmLauncherConfig(), "cpu", ""),
        (SlurmLauncherConfig(gres="tmpfs:8G"), "cpu", ""),
        (SlurmLauncherConfig(gpus_per_node=8), "cuda", ""),
        (SlurmLauncherConfig(gres="tmpfs:8G,gpu:a100:1"), "cuda:0", ""),
        (SlurmLauncherConfig(gres="shard:1"), "cuda", ""),
        (SlurmLauncherConfig(additional_parameters={"gpus": 4}), "cuda", ""),
        (
            SlurmLauncherConfig(gpus_per_node=8),
            "cpu",
            "8 GPUs per node .* runtime.device=cpu does not use them",
        ),
        (
            SlurmLauncherConfig(gres="gpu:a100:2"),
            "cpu",
            "2 GPUs per node .* runtime.device=cpu does not use them",
        ),
        (
            SlurmLauncherConfig(gres="gpu"),
            "cpu",
            "1 GPUs per node .* runtime.device=cpu does not use them",
        ),
        (
            SlurmLauncherConfig(gres="tmp,shard:1"),
            "cpu",
            "shard:1 is requested, .* does not use them",
        ),
        (
            SlurmLauncherConfig(additional_parameters={"gpus": 4}),
            "cpu",
            "gpus is requested, .* does not use them",
        ),
        (SlurmLauncherConfig(), "cuda", "runtime.device=cuda, and no GPU is requested"),
        (SlurmLauncherConfig(gres="tmpfs:8G"), "cuda", "no GPU is requested"),
        (SlurmLauncherConfig(gres="gpu:4"), "cuda", "4 GPUs .*tasks_per_node=1 uses 1"),
    ],
)
def test_gpus_that_are_not_used_or_are_missing_are_reported(
    launcher: SlurmLauncherConfig, device: str, message: str
) -> None:
    assert re.search(message or "^$", schema.describe_gpu_mismatch(launcher, device))


def test_a_command_uses_all_gpus_with_one_process() -> None:
    launcher = SlurmLauncherConfig(gpus_per_node=8).with_one_process()
    assert (launcher.processes_per_node, launcher.requested_gpus_per_node) == (1, 8)
    assert schema.describe_gpu_mismatch(launcher, "cuda", is_command=True) == ""
    for several in ({"nodes": 2}, {"tasks_per_node": 8}):
        with pytest.raises(UserError, match="is started once for each cell"):
            SlurmLauncherConfig(**several).with_one_process()
    assert LocalLauncherConfig(max_workers=2).with_one_process().max_workers == 2
    with pytest.raises(UserError, match="is started once for each cell"):
        LocalLauncherConfig(tasks_per_node=2).with_one_process()


@pytest.mark.parametrize(
    ("gres", "gpus_per_node", "expected"),
    [
        (None, None, 0),
        (None, 4, 4),
        ("gpu", None, 1),
        ("gpu:2", None, 2),
        ("gpu:a100:3,tmp:1G", None, 3),
    ],
)
def test_requested_gpus_are_read_from_gpus_per_node_and_gres(
    gres: str | None, gpus_per_node: int | None, expected: int
) -> None:
    launcher = SlurmLauncherConfig(gres=gres, gpus_per_node=gpus_per_node)
    assert launcher.requested_gpus_per_node == expected
    assert launcher.processes_per_node == (gpus_per_node or 1)


def test_runs_in_parallel_are_limited_by_workers_or_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema.os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    assert LocalLauncherConfig().max_parallel(num_threads=2) == 3
    assert LocalLauncherConfig().max_parallel(num_threads=9) == 1
    assert LocalLauncherConfig(tasks_per_node=2).max_parallel(num_threads=1) == 3
    assert LocalLauncherConfig(tasks_per_node=8).max_parallel(num_threads=1) == 1
    assert LocalLauncherConfig(max_workers=5).max_parallel(num_threads=2) == 5
    assert SweepConfig(launcher=SlurmLauncherConfig()).max_parallel_runs(2) == 256


@pytest.mark.parametrize(
    ("status", "settings", "runs", "restarts"),
    [
        (RunStatus.PENDING, {}, True, False),
        (RunStatus.PAUSED, {}, True, False),
        (RunStatus.RUNNING, {}, False, False),
        (RunStatus.FAILED, {}, False, False),
        (RunStatus.FAILED, {"retry": "failed"}, True, False),
        (RunStatus.DIVERGED, {"retry": "failed"}, False, False),
        (RunStatus.DIVERGED, {"retry": "diverged"}, True, True),
        (RunStatus.OUTDATED, {}, False, False),
        (RunStatus.OUTDATED, {"outdated": "rerun"}, True, True),
        (RunStatus.NEEDS_EVALUATION, {"outdated": "rerun"}, True, True),
        (RunStatus.COMPLETE, {"outdated": "rerun", "retry": "failed"}, False, False),
    ],
)
def test_what_is_run_again_depends_on_the_status_and_the_settings(
    status: RunStatus, settings: dict[str, str], runs: bool, restarts: bool
) -> None:
    is_outdated = status in (RunStatus.OUTDATED, RunStatus.NEEDS_EVALUATION)
    state = RunState(status=status, is_outdated=is_outdated)
    config: SweepConfig = bind(SweepConfig, settings)
    assert config.should_run(state) == runs
    assert config.should_restart(state) == restarts


def test_seeds_are_a_number_or_a_list_and_may_start_later() -> None:
    assert schema.resolve_seeds("seeds", 2) == (0, 1)
    assert schema.resolve_seeds("tuning_seeds", 2, first_seed=1000) == (1000, 1001)
    assert schema.resolve_seeds("seeds", (7, 3)) == (7, 3)
    with pytest.raises(UserError, match="seeds=10001: give at most 10000"):
        schema.resolve_seeds("seeds", schema.MAX_SEEDS + 1)
