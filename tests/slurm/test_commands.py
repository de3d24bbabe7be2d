"""A sweep of a program on Slurm: preempted, killed and resumed, audited and reported; refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.examples.test_openclip_demo import write_images
from tests.helpers import ROOT
from tests.helpers.checkpoint_ablations import write_captioned_images
from tests.helpers.command_ablations import write_command_ablation
from tests.helpers.command_line import Driver, assert_finished_once
from tests.helpers.slurm_cluster import Cluster
from tests.slurm.test_disturbances import finish, node_of, recorded_end_reasons, under_way
from uniclip.store import EndReason, RunFolder

pytestmark = pytest.mark.soak
SLURM = ("launcher=slurm", "launcher.timeout_min=30", "launcher.cells_per_job=1")
LONG = ("seeds=1", "steps=150", "seconds=0.2")
"""Two cells of half a minute each, in a job of their own."""
soak_only = pytest.mark.skipif(
    "UNICLIP_SOAK" not in os.environ, reason="minutes of imports and training: `make soak`"
)


def make_driver(folder: Path, *words: str, **changes: Any) -> Driver:
    driver = Driver(folder / "store")
    ablation_words = write_command_ablation(folder, **changes)
    kept = [word for word in ablation_words if not word.startswith("launcher.")]
    driver.words = (*kept, *words, *SLURM, f"store={driver.folder}")
    return driver


def count_starts(driver: Driver) -> int:
    paths = driver.folder.glob("runs/*/output/starts")
    return sum(len(path.read_text().split()) for path in paths)


def assert_every_step_once(driver: Driver, num_steps: int) -> None:
    for cell in driver.plan().cells:
        records = driver.store.get_run(cell.run_id).read_history()
        steps = [r["step"] for r in records if r["phase"] == "train"]
        assert steps == [*range(1, num_steps + 1)]


def test_a_preempted_program_resumes(cluster: Cluster, tmp_path: Path) -> None:
    driver = make_driver(tmp_path, *LONG, "launcher.signal_delay_s=20")
    driver.run()
    job = under_way(driver)
    urgent = cluster.urgent(1, node_of(cluster, job))
    cluster.wait_until(lambda: cluster.squeue().get(urgent) == "COMPLETED", "urgent job")
    finish(cluster)
    assert_finished_once(driver)
    assert EndReason.PREEMPTED in recorded_end_reasons(driver)
    num_attempts = sum(len(run.list_attempts()) for run in driver.store.iter_runs())
    assert count_starts(driver) == num_attempts > 2
    assert_every_step_once(driver, 150)
    assert driver.tables()
    (sweep,) = driver.store.iter_sweeps()
    assert [check.passed for check in sweep.read_audit_checks()] == [True] * 3


def test_follow_up_jobs_go_on_to_the_later_rounds_of_adaptive_seeds(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The effect is smaller than the resolution of the score: both arms get `max_seeds` seeds."""
    words = ("seeds=adaptive", "max_seeds=6", "max_gpu_hours=10")
    arms = {"base": {}, "x": {"overrides": {"gain": 0.001}}}
    driver = make_driver(tmp_path, *words, arms=arms)
    assert "the sweep continues without this command" in driver.run()
    finish(cluster)
    assert_finished_once(driver)
    plan = driver.plan()
    assert [cell.name for cell in plan.cells] == [f"{a}/{s}" for s in range(6) for a in arms]
    prices = driver.store.get_sweep(plan.sweep_id).read_cell_prices()
    assert prices is not None
    assert sorted(prices.gpu_hours) == ["base", "x"]
    assert driver.tables()


def test_the_program_of_a_killed_worker_ends_with_it(cluster: Cluster, tmp_path: Path) -> None:
    driver = make_driver(tmp_path, *LONG)
    driver.run()
    under_way(driver)
    for pid in driver.workers()[:1]:
        cluster.kill_pid(pid)
    finish(cluster)
    assert_finished_once(driver)
    assert count_starts(driver) == 3
    assert_every_step_once(driver, 150)


def test_a_switch_that_changes_nothing_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    broken = {"base": {}, "x": {"overrides": {"flags": ["--ignored=1"]}}}
    driver = make_driver(tmp_path, "seeds=1", arms=broken)
    driver.run()
    finish(cluster)
    assert count_starts(driver) == 0
    assert not any(run.list_attempts() for run in driver.store.iter_runs())
    assert "the audit refuses the sweep" in driver.run(command="status")


def kill_the_worker_of(cluster: Cluster, driver: Driver, step: int) -> RunFolder:
    """Kill the worker of the first run that reaches a step; return the run."""
    killed: list[RunFolder] = []

    def find() -> bool:
        for run in driver.store.iter_runs():
            for attempt in map(run.get_attempt, run.list_attempts()):
                claim, beat = attempt.read_claim(), attempt.read_heartbeat()
                if claim and beat and beat.step >= step and not attempt.read_end():
                    cluster.kill_pid(claim.pid)
                    killed.append(run)
                    return True
        return False

    cluster.wait_until(find, "a program that trains")
    return killed[0]


def assert_resumed(driver: Driver, run: RunFolder) -> None:
    """Assert that the sweep was finished, and that a run went on after its last checkpoint."""
    assert_finished_once(driver)
    outcome = run.read_outcome()
    assert outcome is not None
    assert outcome.attempt > 1
    steps = [r["step"] for r in run.get_attempt(outcome.attempt).read_metrics()]
    assert steps[0] > 1, steps[:3]
    assert all(state["status"] == "complete" for state in driver.states().values())
    (sweep,) = driver.store.iter_sweeps()
    assert all(check.passed for check in sweep.read_audit_checks())
    assert sweep.read_audit_checks()[-1].name == "a killed run continues"
    assert driver.tables()


@soak_only
def test_the_example_in_plain_torch(cluster: Cluster, tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store")
    driver.words = (
        *("ablation=plain_torch", f"conf_dir={ROOT / 'examples' / 'plain_torch'}", "seeds=1"),
        *("arms=[base,dropout]", "steps=6000", *SLURM, f"store={driver.folder}"),
    )
    driver.run()
    run = kill_the_worker_of(cluster, driver, 200)
    finish(cluster)
    assert_resumed(driver, run)


@soak_only
def test_the_example_of_open_clip(cluster: Cluster, tmp_path: Path) -> None:
    """Its checkpoints are evaluated on the nodes, too."""
    pytest.importorskip("open_clip_train")
    driver = Driver(tmp_path / "store")
    data_folder = write_images(tmp_path / "images")
    name = write_captioned_images(tmp_path / "images", "test")
    driver.words = (
        *("ablation=openclip_demo", f"data_folder={data_folder}", "arms=[clip,siglip]", "seeds=1"),
        *("budget=study", f"benchmark={name}", "runtime.device=cpu", *SLURM),
        f"store={driver.folder}",
    )
    driver.run()
    run = kill_the_worker_of(cluster, driver, 9)
    finish(cluster)
    assert_resumed(driver, run)
    for cell in driver.plan().cells:
        hashes = driver.plan().evaluation_hashes[cell.arm]
        assert sorted(hashes) == sorted(["program", name])
        assert driver.store.get_run(cell.run_id).has_scores(hashes)
