"""A small test job on a compute node, and the diagnostics of its report.

`python -m sweeps.doctor.test_job <folder> <device> <GPUs> <options>` is the job: it reads the token
that the login node wrote, checks folder, libraries and device on the node, and whether sbatch
accepts a job with these options from there, and writes a report.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from sweeps.doctor import device, filesystem, packages
from sweeps.doctor.cluster_info import JobRequirements, extract_last_line
from sweeps.doctor.diagnostic import Diagnostic, ok, parse_diagnostic, problem, warning
from sweeps.doctor.program import ProgramFiles, inspect_programs
from sweeps.slurm import escape_file_pattern, parse_job, run_command
from sweeps.slurm_environment import select_sbatch_variables
from uniclip.errors import UserError
from uniclip.identity import ROOT
from uniclip.io.atomic import atomic_write
from uniclip.store.json_io import read_json

TOKEN_FILE, REPORT_FILE, LOG_FILE = "token", "report.json", "log"
PROGRAMS_FILE = "programs.json"
TIME_LIMIT_MINUTES = 10
"""Time limit of the job, and how long its report is waited for."""
MAX_CLOCK_SKEW_SECONDS = 2.0
"""Clocks that differ by less are considered synchronized."""
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


class NodeReport(TypedDict):
    """The report of the job."""

    host: str
    time: float
    """Seconds since the epoch, by the node's clock."""
    token: str
    """The token that the login node wrote; empty if the node does not see it."""
    can_submit: bool
    """Whether jobs can be submitted from the node."""
    diagnostics: list[dict[str, str]]


def run_test_job(
    report_dir: Path,
    requirements: JobRequirements,
    *,
    device_name: str,
    gpus_per_node: int,
    python: str,
    setup: tuple[str, ...],
    programs: Sequence[ProgramFiles] = (),
) -> list[Diagnostic]:
    """Submit the job, wait for its report in `report_dir`, and return its diagnostics.

    Args:
        report_dir: an empty folder in the store.
        requirements: what the sweep requires of a cluster; its options of sbatch are used.
        device_name: runtime.device of the runs.
        gpus_per_node: GPUs of a job on each node.
        python: shell command that starts Python.
        setup: shell lines that come before it.
        programs: the programs of a sweep of commands, which are looked for on the node.
    """
    token = uuid.uuid4().hex
    write_programs(report_dir, programs)
    atomic_write(report_dir / TOKEN_FILE, token.encode())
    node_command = f"PYTHONPATH={shlex.quote(str(ROOT))} {python} -m {__name__} "
    submit_options = requirements.follow_up_options or requirements.sbatch_options
    node_command += shlex.join([str(report_dir), device_name, str(gpus_per_node), *submit_options])
    options = [
        f"--output={escape_file_pattern(report_dir / LOG_FILE)}",
        *requirements.sbatch_options,
        "--requeue",
        f"--time={TIME_LIMIT_MINUTES}",
    ]
    start_time = time.time()
    script = "\n".join([*setup, node_command])
    sbatch_result = run_command(
        *("sbatch", "--parsable", *options, "--wrap", script),
        sbatch_variables=requirements.sbatch_variables.applied,
    )
    if sbatch_result.returncode != 0:
        message = extract_last_line(sbatch_result.stderr)
        return [problem("test job", message, "change what launcher.* requests")]
    job_id = sbatch_result.stdout.strip().split(";")[0]
    try:
        job_text = run_command("scontrol", "-o", "show", "job", job_id).stdout
        requeue_diagnostic = check_requeue(job_text)
        report = _wait_for_report(report_dir, job_id)
    finally:
        run_command("scancel", job_id)
    if isinstance(report, Diagnostic):
        return [report, requeue_diagnostic]
    return [*build_diagnostics(report, token, start_time, time.time()), requeue_diagnostic]


def build_diagnostics(
    report: NodeReport, token: str, start_time: float, end_time: float
) -> list[Diagnostic]:
    """Return the diagnostics of a report.

    Args:
        report: the report of the node.
        token: what was written before the job was submitted.
        start_time: seconds since the epoch before the job, by the clock of this machine.
        end_time: the same after the job.
    """
    node = report["host"]
    diagnostics = [
        check_shared_folder(node, report["token"], token),
        check_clock(node, report["time"], start_time, end_time),
    ]
    if not report["can_submit"]:
        message = f"jobs cannot be submitted from {node}"
        diagnostics.append(warning("follow-up", message, "launcher.follow_up=false wait=true"))
    for record in report["diagnostics"]:
        diagnostic = parse_diagnostic(record)
        diagnostics.append(
            Diagnostic(
                check=f"{diagnostic.check} on {node}",
                level=diagnostic.level,
                message=diagnostic.message,
                fix=diagnostic.fix,
            )
        )
    return diagnostics


def check_shared_folder(node: str, node_token: str, token: str) -> Diagnostic:
    """Check that the node reads the file that the login node wrote."""
    if node_token != token:
        message = f"{node} does not see files that this machine writes"
        return problem("shared folder", message, "choose a store= on the shared file system")
    return ok("shared folder", f"{node} reads files of this machine, and writes")


def check_clock(node: str, node_time: float, start_time: float, end_time: float) -> Diagnostic:
    """Check that the time of the report lies between the start and the end of the job."""
    offset_seconds = max(start_time - node_time, node_time - end_time)
    if offset_seconds > MAX_CLOCK_SKEW_SECONDS:
        message = f"the clock of {node} is off by {offset_seconds:.0f} s or more"
        fix = "ages of heartbeats and cost reports are off by as much; tell the administrators"
        return warning("clock", message, fix)
    return ok("clock", f"{node} has the same time")


def check_requeue(job_text: str) -> Diagnostic:
    """Check that the job may be requeued, which a plug-in of the site can forbid.

    job_text: what `scontrol -o show job` prints.
    """
    if parse_job(job_text).get("Requeue") == "0":
        fix = "a preempted cell then waits for the follow-up job; ask for --requeue"
        return warning("requeue granted", "the test job may not be requeued", fix)
    return ok("requeue granted", "the test job may be requeued")


def inspect_node(
    report_dir: Path, device_name: str, gpus_per_node: int, submit_options: Sequence[str] = ()
) -> NodeReport:
    """Return the report of the node that this process runs on.

    Args:
        report_dir: folder of the report.
        device_name: runtime.device of the runs.
        gpus_per_node: GPUs of a job on each node.
        submit_options: options of sbatch with which a follow-up job would be submitted from here.
    """
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
        *inspect_programs(_read_programs(report_dir)),
    ]
    test_result = run_command(
        *("sbatch", "--test-only", *submit_options, "--wrap=true"),
        sbatch_variables=select_sbatch_variables(os.environ, (), is_follow_up=True).applied,
    )
    return {
        "host": os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        "time": time.time(),
        "token": token,
        "can_submit": test_result.returncode == 0,
        "diagnostics": [asdict(diagnostic) for diagnostic in diagnostics],
    }


def write_programs(report_dir: Path, programs: Sequence[ProgramFiles]) -> None:
    """Write the programs for which the node looks."""
    records = [asdict(program) for program in programs]
    atomic_write(report_dir / PROGRAMS_FILE, json.dumps(records).encode())


def _read_programs(report_dir: Path) -> list[ProgramFiles]:
    """Return the programs that the login node wrote; none if the node does not see the file."""
    try:
        records = read_json(report_dir / PROGRAMS_FILE)
    except (OSError, UserError):
        return []
    return [ProgramFiles(**{**record, "files": tuple(record["files"])}) for record in records]


def _wait_for_report(report_dir: Path, job_id: str) -> NodeReport | Diagnostic:
    """Return the report, or a diagnostic of why there is none within the time limit."""
    deadline = time.monotonic() + TIME_LIMIT_MINUTES * 60
    report_path, log_path = report_dir / REPORT_FILE, report_dir / LOG_FILE
    state, reason = "", ""
    while time.monotonic() < deadline:
        if report_path.exists():
            report: NodeReport = read_json(report_path)
            return report
        job_info = parse_job(run_command("scontrol", "-o", "show", "job", job_id).stdout)
        state, reason = job_info.get("JobState", state), job_info.get("Reason", reason)
        if state in ENDED_JOB_STATES and not report_path.exists():
            log_text = log_path.read_text(errors="replace") if log_path.exists() else ""
            last_line = extract_last_line(log_text)[:200]
            message = last_line if log_text.strip() else "its log is empty, or not visible here"
            fix = "does the node see this folder and this Python? launcher.setup, launcher.python"
            return problem("test job", f"job {job_id} {state.lower()}: {message}", fix)
        time.sleep(POLL_SECONDS)
    message = f"job {job_id} was {state.lower()} for {TIME_LIMIT_MINUTES} minutes ({reason})"
    return warning("test job", message, "run the command again when the cluster is less busy")


def main(
    report_dir: Path, device_name: str, gpus_per_node: int, submit_options: Sequence[str]
) -> None:
    """Write the report of this node to `report_dir`; see `inspect_node`."""
    report = inspect_node(report_dir, device_name, gpus_per_node, submit_options)
    atomic_write(report_dir / REPORT_FILE, json.dumps(report).encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:])
