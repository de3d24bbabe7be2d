"""Training on a real Slurm with failures: the same weights and tables as without them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers.command_line import Driver, assert_finished_once, copy_audit, wait_until
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.small_disk import filled, small_disk
from uniclip.store import EndReason

pytestmark = pytest.mark.soak
SOAK = "UNICLIP_SOAK" in os.environ
STEPS = 600 if SOAK else 400
WORDS = ("arms=[full,clip]", "seeds=1")
LONG = (*WORDS, f"train.steps={STEPS}")
"""Two cells of some seconds each, in a job of their own."""
SLURM = ("launcher=slurm", "launcher.cells_per_job=1")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """The same sweep on this machine."""
    driver = Driver(tmp_path_factory.mktemp("local") / "store", *LONG)
    driver.run()
    return driver


@pytest.fixture
def driver(cluster: Cluster, tmp_path: Path, undisturbed: Driver) -> Driver:
    """A sweep of two cells on the cluster."""
    return copy_audit(Driver(tmp_path / "store", *LONG, *SLURM), undisturbed)


def training_jobs(driver: Driver) -> list[str]:
    """Jobs whose cells have taken more than 20 steps and not ended."""
    jobs = []
    for run in driver.store.iter_runs():
        for number in run.list_attempts()[-1:]:
            attempt = run.get_attempt(number)
            owner, beat = attempt.read_claim(), attempt.read_heartbeat()
            # on a fast machine the newest heartbeat is often that of a validation
            if owner and beat and 20 < beat.step and beat.phase in ("training", "validating"):
                jobs += [owner.job_id] if owner.job_id and not attempt.read_end() else []
    return jobs


def under_way(driver: Driver) -> str:
    """A job that is in the middle of a training."""
    wait_until(lambda: bool(training_jobs(driver)), 400)
    return training_jobs(driver)[0]


def finish(cluster: Cluster, seconds: float = 900) -> None:
    """Wait until the last follow-up has ended; requeued jobs start at once."""
    deadline = time.monotonic() + seconds
    while cluster.active():
        assert time.monotonic() < deadline, cluster.active()
        cluster.release_holds()
        time.sleep(0.5)


def same(driver: Driver, undisturbed: Driver) -> None:
    """Assert equal weights and tables, and that no run was trained twice."""
    assert driver.weights() == undisturbed.weights()
    assert driver.tables() == undisturbed.tables()
    assert_finished_once(driver)


def node_of(cluster: Cluster, job: str) -> str:
    return cluster.job(job)["NodeList"]


def test_undisturbed(cluster: Cluster, tmp_path: Path, undisturbed: Driver) -> None:
    """Including the audit job."""
    driver = Driver(tmp_path / "store", *LONG, *SLURM)
    assert "the sweep continues without this command" in driver.run()
    finish(cluster)
    same(driver, undisturbed)
    assert all(kinds == ["trained"] for kinds in driver.endings().values())
    assert "0 to run" in driver.run()


@pytest.mark.skipif(not SOAK, reason="minutes of training, twice: `make soak`")
def test_the_full_ablation_has_the_tables_of_one_machine(cluster: Cluster, tmp_path: Path) -> None:
    local, far = Driver(tmp_path / "local"), Driver(tmp_path / "far")
    for one, launcher in ((local, "local"), (far, "slurm")):
        command = ("ablation=components", "budget=smoke", f"launcher={launcher}")
        one.words = (*command, f"store={one.folder}")
        one.run()
    finish(cluster, 1800)
    assert len(far.plan().cells) == 22
    same(far, local)


@pytest.mark.parametrize("times", [1, 2] if SOAK else [1])
def test_preempted(cluster: Cluster, driver: Driver, undisturbed: Driver, times: int) -> None:
    """With a time limit of ten minutes, at which submitit takes preemptions for time-outs."""
    driver.run("launcher.timeout_min=10", "launcher.signal_delay_s=20")
    for _ in range(times):
        job = under_way(driver)
        urgent = cluster.urgent(1, node_of(cluster, job))
        cluster.wait_until(lambda j=urgent: cluster.squeue().get(j) == "COMPLETED", "urgent job")
        states = {row["status"] for row in driver.states().values()}
        assert states & {"preempted", "running", "complete", "queued"}
        cluster.release_holds()
    finish(cluster)
    same(driver, undisturbed)
    assert any("interrupted" in kinds for kinds in driver.endings().values())
    assert EndReason.PREEMPTED in recorded_end_reasons(driver)


def recorded_end_reasons(driver: Driver) -> set[EndReason | None]:
    """Why attempts were interrupted, as the claims of the attempts after them state it."""
    reasons = set()
    for run in driver.store.iter_runs():
        for number in run.list_attempts():
            claim_record = run.get_attempt(number).read_claim()
            reasons |= {claim_record.previous_end_reason} if claim_record else set()
    return reasons


def test_the_worker_is_killed(cluster: Cluster, driver: Driver, undisturbed: Driver) -> None:
    driver.run()
    under_way(driver)
    for pid in driver.workers()[:1]:
        cluster.kill_pid(pid)
    finish(cluster)
    same(driver, undisturbed)
    assert any("no exit record" in kinds for kinds in driver.endings().values())


def test_a_node_goes_down(cluster: Cluster, driver: Driver, undisturbed: Driver) -> None:
    driver.run()
    job = under_way(driver)
    node = node_of(cluster, job)
    cluster.set_down(node)
    # Slurm drains a node that comes back while processes of a requeued job still run on it.
    cluster.wait_until(lambda: not cluster.keepers(), "the end of what ran there")
    cluster.resume(node)
    finish(cluster)
    same(driver, undisturbed)


def test_cancelled_and_run_again(cluster: Cluster, driver: Driver, undisturbed: Driver) -> None:
    """One cell is cancelled: the other continues, and the follow-up does not restart the first."""
    driver.run()
    under_way(driver)
    assert "cancelled 1 jobs" in driver.run("full/0", command="cancel")
    finish(cluster)
    states = {cell: row["status"] for cell, row in driver.states().items()}
    assert states["full/0"] in ("interrupted", "pending")
    assert states["clip/0"] == "complete"
    driver.run()
    finish(cluster)
    same(driver, undisturbed)


def test_a_stalled_cell_is_replaced_with_force(
    cluster: Cluster, driver: Driver, undisturbed: Driver
) -> None:
    """The end of a stopped process cannot be proven; its job is cancelled and frees its node."""
    driver.run()
    job = under_way(driver)
    asleep = [pid for pid in driver.workers() if job_of(driver, pid) == job]
    cluster.kill_pid(asleep[0], signal.SIGSTOP)
    (cell,) = (name for name, row in driver.states().items() if f"job {job} " in str(row["reason"]))
    assert f"cancelled {job}: retry --force" in driver.run(cell, "--force", command="retry")
    finish(cluster)
    same(driver, undisturbed)
    assert not psutil.pid_exists(asleep[0])


def job_of(driver: Driver, pid: int) -> str | None:
    """The job of the attempt that this process holds."""
    owners = (
        r.get_attempt(n).read_claim() for r in driver.store.iter_runs() for n in r.list_attempts()
    )
    return next((o.job_id for o in owners if o is not None and o.pid == pid), None)


def test_a_follow_up_that_cannot_submit_requeues_itself(
    cluster: Cluster, tmp_path: Path, undisturbed: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is full when the audit has ended, and only the follow-up continues the sweep."""
    full = tmp_path / "full"
    script = REFUSED.format(full=full)
    monkeypatch.setenv("PATH", cluster.trap(tmp_path / "bin", "sbatch", script))
    driver = Driver(tmp_path / "store", *LONG, *SLURM)
    driver.run()
    full.touch()
    cluster.wait_until(lambda: waiting_again(cluster), "the follow-up to be requeued", 300)
    full.unlink()
    finish(cluster)
    same(driver, undisturbed)


REFUSED = """\
if [ -e {full} ]; then
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
    exit 1
fi
exec REAL "$@"
"""


def waiting_again(cluster: Cluster) -> bool:
    """Whether the only remaining job has run before."""
    active = cluster.active()
    return len(active) == 1 and cluster.job(next(iter(active)))["Restarts"] != "0"


@pytest.mark.skipif(not SOAK, reason="two minutes: `make soak`")
def test_torn_lines(cluster: Cluster, driver: Driver, undisturbed: Driver) -> None:
    """Workers are killed in the middle of a line of every JSON lines file."""
    driver.run()
    under_way(driver)
    for pid in driver.workers():
        cluster.kill_pid(pid)
    time.sleep(1)
    for path in driver.folder.rglob("*.jsonl"):
        with open(path, "ab") as stream:
            stream.write(b'{"step": 17, "phase": "tr')
    finish(cluster)
    same(driver, undisturbed)


def test_a_full_disk(cluster: Cluster, tmp_path: Path, undisturbed: Driver) -> None:
    """While the disk is full checkpoints are skipped, and training continues."""
    with small_disk(tmp_path / "disk") as disk:
        driver = copy_audit(Driver(disk / "store", *LONG, *SLURM), undisturbed)
        driver.run()
        under_way(driver)
        with filled(disk):
            time.sleep(3)
        finish(cluster)
        if not all(driver.weights().values()):
            driver.run()
            finish(cluster)
        same(driver, undisturbed)


@pytest.mark.skipif(not SOAK, reason="waits for minutes: `make soak`")
def test_the_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    local, driver = Driver(tmp_path / "local"), Driver(tmp_path / "store")
    for one, more in ((local, ()), (driver, SLURM)):
        often = [word for word in one.words if not word.startswith("runtime.checkpoint_seconds")]
        one.words = (*often, "runtime.checkpoint_seconds=5", *WORDS, "train.steps=3000", *more)
    local.run()
    driver.run("launcher.timeout_min=2", "launcher.signal_delay_s=20")
    finish(cluster)
    same(driver, local)
    assert EndReason.TIMEOUT in recorded_end_reasons(driver)
