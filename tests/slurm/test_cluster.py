"""The private cluster itself: jobs run, preempted jobs are requeued, and all processes end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import restore_interrupts
from tests.helpers.slurm_cluster import Cluster

TWICE = """
echo attempt ${SLURM_RESTART_COUNT:-0}
trap 'echo signalled; scontrol requeue $SLURM_JOB_ID; exit' USR2
[ -n "$SLURM_RESTART_COUNT" ] || while :; do sleep 0.1; done
"""
"""The first attempt waits for a signal and then requeues itself."""


def list_command_lines(folder: Path) -> list[str]:
    """Return the command lines of processes of a cluster in `folder`."""
    command_lines = []
    for process in psutil.process_iter():
        try:
            arguments = process.cmdline()
            if str(folder) in " ".join([*arguments, *process.environ().values()]):
                command_lines.append(" ".join(arguments))
        except psutil.Error:
            pass
    return command_lines


def test_a_job_runs_on_both_nodes_with_both_gpus(cluster: Cluster) -> None:
    output = "srun sh -c 'echo $SLURM_PROCID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES'"
    job = cluster.sbatch(output, "--nodes=2", "--ntasks-per-node=1", "--gres=gpu:2")
    cluster.wait_state(job, "COMPLETED")
    first, second = cluster.nodes
    assert sorted(cluster.output(job).splitlines()) == [f"0 {first} 0,1", f"1 {second} 0,1"]


def test_names_of_nodes_resolve(cluster: Cluster) -> None:
    """`torch.distributed` needs this of the first node."""
    assert [socket.gethostbyname(n) for n in cluster.nodes] == ["127.0.0.1", "127.0.0.2"]


def test_ended_jobs_are_known_without_accounting(cluster: Cluster) -> None:
    job = cluster.sbatch("exit 3")
    cluster.wait_state(job, "FAILED")
    completed = subprocess.run(["sacct", "-j", job], capture_output=True, env=cluster.environment)
    assert completed.returncode != 0
    assert cluster.job(job)["ExitCode"] == "3:0"


def test_an_urgent_job_preempts_a_job_which_is_requeued(cluster: Cluster) -> None:
    options = ("--nodelist=" + cluster.nodes[0], "--signal=B:USR2@30", "--open-mode=append")
    job = cluster.sbatch(TWICE, *options)
    cluster.wait_until(lambda: "attempt 0" in cluster.output(job), "the job's first line")
    urgent = cluster.urgent(1, node=cluster.nodes[0])
    cluster.wait_state(urgent, "COMPLETED")
    cluster.wait_state(job, "PENDING")
    cluster.release_holds()
    cluster.wait_state(job, "COMPLETED")
    output = [
        line for line in cluster.output(job).splitlines() if not line.startswith("slurmstepd")
    ]
    assert output == ["attempt 0", "signalled", "attempt 1"]
    assert cluster.job(job)["Restarts"] == "1"


def test_the_job_of_a_node_that_is_down_is_requeued(cluster: Cluster) -> None:
    script = '[ -n "$SLURM_RESTART_COUNT" ] || sleep 600'
    job = cluster.sbatch(script, "--nodelist=" + cluster.nodes[1])
    cluster.wait_state(job, "RUNNING")
    cluster.set_down(cluster.nodes[1])
    cluster.wait_state(job, "PENDING")
    cluster.resume(cluster.nodes[1])

    def has_completed() -> bool:
        cluster.release_holds()
        return cluster.squeue()[job] == "COMPLETED"

    cluster.wait_until(has_completed, "the second attempt")
    assert cluster.job(job)["Restarts"] == "1"


def test_slurmctld_can_be_restarted(cluster: Cluster) -> None:
    job = cluster.sbatch("sleep 600")
    cluster.wait_until(lambda: len(cluster.processes(job)) > 0, "the job's processes")
    first = cluster.processes(job)
    cluster.stop_daemon("slurmctld")
    assert all(psutil.pid_exists(pid) for pid in first)
    cluster.start_daemon("slurmctld")
    assert cluster.squeue()[job] == "RUNNING"
    cluster.kill_pid(first[0])
    cluster.wait_state(job, "FAILED")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_process_is_left_when_the_tests_are_killed(
    tmp_path_factory: pytest.TempPathFactory, ending: signal.Signals
) -> None:
    """However their process ends, and with a job that ignores signals."""
    folder = tmp_path_factory.mktemp("left")  # short: sockets are below it
    script = "trap : TERM INT HUP; while :; do sleep 1; done"
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from tests.helpers.slurm_cluster import Cluster\n"
        f"cluster = Cluster(Path({str(folder)!r})).start()\n"
        f"cluster.wait_state(cluster.sbatch({script!r}), 'RUNNING')\n"
        "print('running', flush=True)\n"
        "time.sleep(600)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=restore_interrupts,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "running\n"
    assert len(list_command_lines(folder)) > 5
    os.kill(started.pid, ending)
    started.communicate()
    deadline = time.monotonic() + 60
    while remaining := list_command_lines(folder):
        assert time.monotonic() < deadline, remaining
        time.sleep(0.1)


def test_settings_reach_slurm(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, MaxArraySize=8).start()
    try:
        cluster.command("sbatch", "--array=0-7", "--output=/dev/null", "--wrap=true")
        with pytest.raises(AssertionError, match="Invalid job array"):
            cluster.command("sbatch", "--array=0-8", "--output=/dev/null", "--wrap=true")
    finally:
        cluster.close()
    assert list_command_lines(tmp_path) == []
