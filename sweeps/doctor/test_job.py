"""A tiny job that looks around on a compute node, and what its report says here.

`python -m sweeps.doctor.test_job <folder> <device>` is the job: it reads what the login node wrote,
tries the folder, the libraries and the device there, and leaves a report beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweeps.doctor import device, filesystem, packages, slurm_cluster
from sweeps.doctor.finding import Diagnostic, ok, parse_diagnostic, problem, warning
from sweeps.slurm import parse_job, run_command
from uniclip.identity import ROOT
from uniclip.io.atomic import atomic_write
from uniclip.store.json_io import read_json

TOKEN_FILE, REPORT_FILE, LOG_FILE = "token", "report.json", "log"
TIME_LIMIT_MINUTES = 10
"""The job's time limit."""
MAX_CLOCK_SKEW_SECONDS = 2.0
"""Clocks that differ by less are taken for one clock."""
POLL_SECONDS = 0.5
ENDED_JOB_STATES = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
)


def run_test_job(
    report_dir: Path,
    requirements: slurm_cluster.JobRequirements,
    *,
    device_name: str,
    gpus_per_node: int,
    python: str,
    setup: tuple[str, ...],
) -> list[Diagnostic]:
    """Submit the job, wait for its report in `place` (empty, in the store), and read it.

    Args:
        where: runtime.device of the runs.
        gpus: GPUs of a node that a job gets.
        python: how jobs start Python.
        setup: shell lines before that.
    """
    token = uuid.uuid4().hex
    atomic_write(report_dir / TOKEN_FILE, token.encode())
    node_command = f"PYTHONPATH={shlex.quote(str(ROOT))} {python} -m {__name__} "
    node_command += shlex.join([str(report_dir), device_name, str(gpus_per_node)])
    options = [
        f"--output={report_dir / LOG_FILE}",
        *requirements.sbatch_options,
        "--requeue",
        f"--time={TIME_LIMIT_MINUTES}",
    ]
    start_time = time.time()
    sbatch_result = run_command(
        "sbatch", "--parsable", *options, "--wrap", "\n".join([*setup, node_command])
    )
    if sbatch_result.returncode != 0:
        fix = "change what launcher.* asks for"
        return [problem("test job", slurm_cluster.extract_last_line(sbatch_result.stderr), fix)]
    job_id = sbatch_result.stdout.strip().split(";")[0]
    try:
        requeue_diagnostic = check_requeue(
            run_command("scontrol", "-o", "show", "job", job_id).stdout
        )
        report = _wait_for_report(report_dir, job_id)
    finally:
        run_command("scancel", job_id)
    if isinstance(report, Diagnostic):
        return [report, requeue_diagnostic]
    return [*build_diagnostics(report, token, start_time, time.time()), requeue_diagnostic]


def build_diagnostics(
    report: dict[str, Any], token: str, start_time: float, end_time: float
) -> list[Diagnostic]:
    """What the node saw, against what is known here.

    Args:
        token: what was written before the job was submitted.
        begun, ended: seconds since the epoch, by the clock here, around the job.
    """
    node = report["host"]
    diagnostics = [check_shared_folder(report, token), check_clock(report, start_time, end_time)]
    if not report["submits"]:
        fix = "launcher.follow_up=false wait=true"
        diagnostics.append(warning("follow-up", f"{node} may not submit jobs", fix))
    for record in report["findings"]:
        node_diagnostic = parse_diagnostic(record)
        diagnostics.append(
            Diagnostic(
                check=f"{node_diagnostic.check} on {node}",
                level=node_diagnostic.level,
                message=node_diagnostic.message,
                fix=node_diagnostic.fix,
            )  # fmt: skip
        )
    return diagnostics


def check_shared_folder(report: dict[str, Any], token: str) -> Diagnostic:
    """Whether the node sees the folder that the login node sees."""
    if report["token"] != token:
        message = f"{report['host']} does not see what was written here"
        return problem("shared folder", message, "choose a store= on the shared file system")
    return ok("shared folder", f"{report['host']} reads what was written here, and writes")


def check_clock(report: dict[str, Any], start_time: float, end_time: float) -> Diagnostic:
    """Whether the node's clock can be the one here: it looked between `begun` and `ended`."""
    offset_seconds = max(start_time - report["time"], report["time"] - end_time)
    if offset_seconds > MAX_CLOCK_SKEW_SECONDS:
        message = f"the clock of {report['host']} is off by {offset_seconds:.0f} s or more"
        return warning(
            "clock", message, "ages of heartbeats and bills are off by as much; tell them"
        )
    return ok("clock", f"{report['host']} has the same time")


def check_requeue(job_text: str) -> Diagnostic:
    """Whether the job was let be requeued (a site's plug-in may have taken that away)."""
    if parse_job(job_text).get("Requeue") == "0":
        fix = "a preempted cell then waits for the follow-up; ask for --requeue"
        return warning("requeue granted", "the test job may not be requeued", fix)
    return ok("requeue granted", "the test job may be requeued")


def inspect_node(report_dir: Path, device_name: str, gpus_per_node: int) -> dict[str, Any]:
    """What a node sees: `host`, `time`, `token`, `submits`, `findings`."""
    try:
        token = (report_dir / TOKEN_FILE).read_text()
    except OSError:
        token = ""
        report_dir.mkdir(parents=True, exist_ok=True)
    node_dir = report_dir / f"node-{uuid.uuid4().hex}"
    node_dir.mkdir()
    diagnostics = [
        *filesystem.check_file_system(node_dir),
        *packages.check_packages(ROOT),
        *device.check_device(device_name, gpus_per_node),
    ]
    test_result = run_command("sbatch", "--test-only", "--wrap=true")
    return {
        "host": os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        "time": time.time(),
        "token": token,
        "submits": test_result.returncode == 0,
        "findings": [asdict(f) for f in diagnostics],
    }


def _wait_for_report(report_dir: Path, job_id: str) -> dict[str, Any] | Diagnostic:
    """The node's report, or why there is none; waits as long as the job is waited for."""
    deadline = time.monotonic() + TIME_LIMIT_MINUTES * 60
    state, reason = "", ""
    while time.monotonic() < deadline:
        if (report_dir / REPORT_FILE).exists():
            report: dict[str, Any] = read_json(report_dir / REPORT_FILE)
            return report
        job_info = parse_job(run_command("scontrol", "-o", "show", "job", job_id).stdout)
        state, reason = job_info.get("JobState", state), job_info.get("Reason", reason)
        if state in ENDED_JOB_STATES and not (report_dir / REPORT_FILE).exists():
            log_path = report_dir / LOG_FILE
            text = log_path.read_text(errors="replace") if log_path.exists() else ""
            last_line = (
                slurm_cluster.extract_last_line(text)[:200]
                if text.strip()
                else "nothing of it is seen here"
            )
            fix = "does the node see this folder and this Python? launcher.setup, launcher.python"
            return problem("test job", f"job {job_id} {state.lower()}: {last_line}", fix)
        time.sleep(POLL_SECONDS)
    text = f"job {job_id} was {state.lower()} for {TIME_LIMIT_MINUTES} minutes ({reason})"
    return warning("test job", text, "ask again when the cluster has room")


if __name__ == "__main__":
    report_dir = Path(sys.argv[1])
    atomic_write(
        report_dir / REPORT_FILE,
        json.dumps(inspect_node(report_dir, sys.argv[2], int(sys.argv[3]))).encode(),
    )
