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
from sweeps.doctor.finding import Finding, from_record, ok, problem, warning
from sweeps.slurm import ask, parse_job
from uniclip.identity import ROOT
from uniclip.io.atomic import read_json, replace

TOKEN, REPORT, LOG = "token", "report.json", "log"
MINUTES = 10
"""The job's time limit."""
SKEW_SECONDS = 2.0
"""Clocks that differ by less are taken for one clock."""
POLL_SECONDS = 0.5
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")


def examine(
    place: Path,
    need: slurm_cluster.Need,
    *,
    where: str,
    gpus: int,
    python: str,
    setup: tuple[str, ...],
) -> list[Finding]:
    """Submit the job, wait for its report in `place` (empty, in the store), and read it.

    Args:
        where: runtime.device of the runs.
        gpus: GPUs of a node that a job gets.
        python: how jobs start Python.
        setup: shell lines before that.
    """
    token = uuid.uuid4().hex
    replace(place / TOKEN, token.encode())
    act = f"PYTHONPATH={shlex.quote(str(ROOT))} {python} -m {__name__} "
    act += shlex.join([str(place), where, str(gpus)])
    options = [f"--output={place / LOG}", *need.options, "--requeue", f"--time={MINUTES}"]
    begun = time.time()
    said = ask("sbatch", "--parsable", *options, "--wrap", "\n".join([*setup, act]))
    if said.returncode != 0:
        mend = "change what launcher.* asks for"
        return [problem("test job", slurm_cluster.last_line(said.stderr), mend)]
    job = said.stdout.strip().split(";")[0]
    try:
        requeued = requeues(ask("scontrol", "-o", "show", "job", job).stdout)
        report = _report(place, job)
    finally:
        ask("scancel", job)
    if isinstance(report, Finding):
        return [report, requeued]
    return [*judge(report, token, begun, time.time()), requeued]


def judge(report: dict[str, Any], token: str, begun: float, ended: float) -> list[Finding]:
    """What the node saw, against what is known here.

    Args:
        token: what was written before the job was submitted.
        begun, ended: seconds since the epoch, by the clock here, around the job.
    """
    node = report["host"]
    findings = [shared(report, token), clock(report, begun, ended)]
    if not report["submits"]:
        mend = "launcher.follow_up=false wait=true"
        findings.append(warning("follow-up", f"{node} may not submit jobs", mend))
    for record in report["findings"]:
        seen = from_record(record)
        findings.append(
            Finding(
                check=f"{seen.check} on {node}", level=seen.level, said=seen.said, mend=seen.mend
            )  # fmt: skip
        )
    return findings


def shared(report: dict[str, Any], token: str) -> Finding:
    """Whether the node sees the folder that the login node sees."""
    if report["token"] != token:
        said = f"{report['host']} does not see what was written here"
        return problem("shared folder", said, "choose a store= on the shared file system")
    return ok("shared folder", f"{report['host']} reads what was written here, and writes")


def clock(report: dict[str, Any], begun: float, ended: float) -> Finding:
    """Whether the node's clock can be the one here: it looked between `begun` and `ended`."""
    off = max(begun - report["time"], report["time"] - ended)
    if off > SKEW_SECONDS:
        said = f"the clock of {report['host']} is off by {off:.0f} s or more"
        return warning("clock", said, "ages of heartbeats and bills are off by as much; tell them")
    return ok("clock", f"{report['host']} has the same time")


def requeues(said: str) -> Finding:
    """Whether the job was let be requeued (a site's plug-in may have taken that away)."""
    if parse_job(said).get("Requeue") == "0":
        mend = "a preempted cell then waits for the follow-up; ask for --requeue"
        return warning("requeue granted", "the test job may not be requeued", mend)
    return ok("requeue granted", "the test job may be requeued")


def look(place: Path, where: str, gpus: int) -> dict[str, Any]:
    """What a node sees: `host`, `time`, `token`, `submits`, `findings`."""
    try:
        token = (place / TOKEN).read_text()
    except OSError:
        token = ""
        place.mkdir(parents=True, exist_ok=True)
    mine = place / f"node-{uuid.uuid4().hex}"
    mine.mkdir()
    found = [*filesystem.examine(mine), *packages.examine(ROOT), *device.examine(where, gpus)]
    tried = ask("sbatch", "--test-only", "--wrap=true")
    return {
        "host": os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        "time": time.time(),
        "token": token,
        "submits": tried.returncode == 0,
        "findings": [asdict(f) for f in found],
    }


def _report(place: Path, job: str) -> dict[str, Any] | Finding:
    """The node's report, or why there is none; waits as long as the job is waited for."""
    deadline = time.monotonic() + MINUTES * 60
    state, reason = "", ""
    while time.monotonic() < deadline:
        if (place / REPORT).exists():
            report: dict[str, Any] = read_json(place / REPORT)
            return report
        facts = parse_job(ask("scontrol", "-o", "show", "job", job).stdout)
        state, reason = facts.get("JobState", state), facts.get("Reason", reason)
        if state in OVER and not (place / REPORT).exists():
            log = place / LOG
            said = log.read_text(errors="replace") if log.exists() else ""
            last = (
                slurm_cluster.last_line(said)[:200]
                if said.strip()
                else "nothing of it is seen here"
            )
            mend = "does the node see this folder and this Python? launcher.setup, launcher.python"
            return problem("test job", f"job {job} {state.lower()}: {last}", mend)
        time.sleep(POLL_SECONDS)
    said = f"job {job} was {state.lower()} for {MINUTES} minutes ({reason})"
    return warning("test job", said, "ask again when the cluster has room")


if __name__ == "__main__":
    told = Path(sys.argv[1])
    replace(told / REPORT, json.dumps(look(told, sys.argv[2], int(sys.argv[3]))).encode())
