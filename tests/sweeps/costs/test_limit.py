"""The GPU-hour limit: GPUs of a run, and the estimate that it is compared with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig
from sweeps.costs import limit, probe
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl
from uniclip.store import Store

LOCAL, SLURM = LocalLauncherConfig(), SlurmLauncherConfig(gpus_per_node=2)


@pytest.mark.parametrize(
    ("launcher", "device", "gpus"),
    [
        (LocalLauncherConfig(), "cpu", 0),
        (LocalLauncherConfig(), "cuda", 1),
        (LocalLauncherConfig(tasks_per_node=8), "cuda", 8),
        (LocalLauncherConfig(tasks_per_node=8), "cpu", 0),
        (SlurmLauncherConfig(), "cpu", 0),
        (SlurmLauncherConfig(nodes=2, gpus_per_node=8), "cuda", 16),
        (SlurmLauncherConfig(nodes=2, gres="gpu:3"), "cuda", 6),
        (SlurmLauncherConfig(gres="gpu:a100:4"), "cuda", 4),
        (SlurmLauncherConfig(gres="gpu"), "cuda", 1),
        (SlurmLauncherConfig(gres="gpu:a100"), "cuda", 1),
        (SlurmLauncherConfig(gres="tmpfs:8G,gpu:2"), "cuda", 2),
        (SlurmLauncherConfig(gres="license:4"), "cpu", 0),
    ],
)
def test_gpus_of_a_run_are_counted(
    launcher: LocalLauncherConfig | SlurmLauncherConfig, device: str, gpus: int
) -> None:
    assert limit.count_gpus_per_run(launcher, device) == gpus


def check(
    store: Store, hours: float | None, launcher: LocalLauncherConfig | SlurmLauncherConfig = LOCAL
) -> bool:
    """Check the limit for one arm of 1800 s per run, and three such runs."""
    resolved_plan = planned(2, 0.0)
    plan = resolved_plan.plan
    config = {**plan.base_config, "train": {**plan.base_config["train"], "steps": 100}}
    resolved_plan = replace(resolved_plan, plan=replace(plan, base_config=config))
    run_counts = {plan.cells[0].run_id: 2, plan.cells[1].run_id: 1}
    return limit.enforce_gpu_hours_limit(
        store, resolved_plan, run_counts, max_gpu_hours=hours, launcher=launcher
    )


def measure(store: Store) -> None:
    """Have the arm measured, and its audit passed."""
    plan = planned(2, 0.0).plan
    record = {"arm": "only", "device": "cpu", "seconds_per_step": 17.0}
    folder = store.get_sweep(plan.sweep_id)
    append_jsonl(folder.probes_path, {**record, "setup_and_eval_seconds": 100.0})
    pass_audit(store, plan)


def test_nothing_is_measured_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "run_probe", lambda *arguments: pytest.fail("a probe was started"))
    assert check(Store(tmp_path), None)


def test_estimate_above_the_limit_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    measure(store)
    assert check(store, 1.6)
    with pytest.raises(UserError, match="3 runs would take about 1.5 CPU worker hours"):
        check(store, 1.4)
    with pytest.raises(UserError, match=r"3 runs would take about 3 GPU-hours \(2\.25 to 3\.75\)"):
        check(store, 1.6, SLURM)


def test_limit_waits_for_the_audit_on_a_cluster(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not check(store, 100.0, SLURM)
    pass_audit(store, planned(2, 0.0).plan)
    with pytest.raises(UserError, match="1 arms could not be measured"):
        check(store, 100.0, SLURM)
