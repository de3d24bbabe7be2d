"""Kills, two controllers at once, stopped workers: the weights and tables stay the same."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.command_line import (
    TIMEOUT_SECONDS,
    Driver,
    assert_finished_once,
    copy_audit,
    kill,
    wait_until,
)

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
ARMS = ("arms=[full,clip]", f"seeds={2 if SOAK else 1}", "train.steps=60")
ROUNDS = 4 if SOAK else 1
"""Number of kills of each kind."""
VICTIMS = ("sweep", "worker", "all") if SOAK else ("all",)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    driver = Driver(tmp_path_factory.mktemp("undisturbed") / "store", *ARMS)
    driver.run()
    return driver


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_killed_at_a_random_moment(
    undisturbed: Driver, tmp_path: Path, victim: str, round_: int
) -> None:
    driver = copy_audit(Driver(tmp_path / "store", *ARMS), undisturbed)
    chance = random.Random(f"{victim} {round_} {time.time_ns()}")
    process = driver.start()
    wait_until(driver.training)
    time.sleep(chance.uniform(0, 3))
    victims = {"sweep": [process.pid], "worker": driver.workers()[:1], "all": driver.everything()}
    kill(victims[victim])
    if victim != "worker":
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        driver.run()
    else:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        assert process.returncode == 0, output
    assert_finished_once(driver)
    assert driver.weights() == undisturbed.weights()
    assert driver.tables() == undisturbed.tables()
    wait_until(lambda: not driver.workers())


@pytest.mark.slow
@pytest.mark.soak
def test_two_controllers_at_once_execute_each_run_once(undisturbed: Driver, tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", *ARMS)
    processes = [driver.start("launcher.max_workers=1") for _ in range(2)]
    output = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    assert set(map(tuple, driver.endings().values())) == {("trained",)}
    assert driver.weights() == undisturbed.weights()
    assert driver.tables() == undisturbed.tables()


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="half a minute: `make soak`")
def test_a_worker_that_continues_too_late_changes_nothing(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", "arms=[full]", "seeds=1", "train.steps=60")
    process = driver.start()
    wait_until(driver.training)
    stopped = driver.workers()
    kill(stopped, signal.SIGSTOP)
    try:
        kill([process.pid])
        process.wait()
        assert next(iter(driver.states().values()))["status"] == "running", "its end is not proven"
        driver.run("full/0", "--force", command="retry")
        published = _published(driver)
    finally:
        kill(stopped, signal.SIGCONT)
    wait_until(
        lambda: driver.endings() == {run: ["superseded", "trained"] for run in driver.endings()}
    )
    wait_until(lambda: not driver.everything())
    assert _published(driver) == published


def _published(driver: Driver) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every file that is written once."""
    files = [p for run in driver.store.iter_runs() for p in run.path.rglob("*") if p.is_file()]
    published = [p for p in files if "attempts" not in p.parts]
    return {str(p): (p.stat().st_ino, p.read_bytes()) for p in published}
