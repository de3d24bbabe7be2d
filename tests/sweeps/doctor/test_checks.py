"""What doctor looks at, each check against a thing that is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.doctor import device, filesystem, packages, slurm_cluster, test_job
from sweeps.doctor.finding import Diagnostic, parse_diagnostic
from sweeps.doctor.slurm_cluster import ClusterInfo, JobRequirements
from tests.helpers import ROOT
from tests.helpers.deny_syscalls import CALLS

EXAMINE = (
    "import json, sys; from dataclasses import asdict; from pathlib import Path;"
    "from sweeps.doctor import filesystem;"
    "print(json.dumps([asdict(f) for f in filesystem.examine(Path(sys.argv[1]))]))"
)


def levels(findings: list[Diagnostic]) -> dict[str, str]:
    return {f.check: f.level for f in findings}


# ---- a folder ------------------------------------------------------------------------------------


def test_a_good_folder_is_left_as_it_was(tmp_path: Path) -> None:
    assert set(levels(filesystem.check_file_system(tmp_path)).values()) == {"ok"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(platform.machine() not in CALLS, reason="numbers of its calls are not known")
@pytest.mark.parametrize(
    ("call", "check"),
    [
        ("link", "files are published once"),
        ("rename", "files are replaced whole"),
        ("fsync", "files are kept"),
    ],
)
def test_a_file_system_that_lacks_a_call_is_found(tmp_path: Path, call: str, check: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.helpers.deny_syscalls",
        call,
        sys.executable,
        "-c",
        EXAMINE,
    ]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    found = [parse_diagnostic(record) for record in json.loads(done.stdout)]
    (wrong,) = [f for f in found if f.level != "ok"]
    assert (wrong.check, wrong.level) == (check, "problem")
    assert "store=" in wrong.fix


def found_alone(place: Path, check: str) -> str:
    """What is said of the one thing that is wrong with a folder."""
    (wrong,) = [f for f in filesystem.check_file_system(place) if f.level != "ok"]
    assert (wrong.check, wrong.level) == (check, "problem")
    assert "store=" in wrong.fix
    assert list(place.iterdir()) == []
    return wrong.message


def test_a_file_system_where_two_get_one_name_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(os, "link", link)
    assert "lets two take one name" in found_alone(tmp_path, "files are published once")


@pytest.mark.parametrize("seen_", ["half of it", "No such file"])
def test_a_file_system_that_replaces_in_two_steps_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen_: str
) -> None:
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if seen_ == "half of it":
            target.write_bytes(source.read_bytes()[:100])
        else:
            target.unlink()
        time.sleep(0.002)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    said = found_alone(tmp_path, "files are replaced whole")
    assert f"a reader saw {seen_}" in said


def test_a_file_system_that_loses_appended_lines_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writer goes on where it was itself, as where O_APPEND is made up by the client."""
    real = Path.open

    def opened(self: Path, mode: str = "r", buffering: int = -1, *more: Any) -> Any:
        if mode == "ab":
            self.touch()
            mode = "r+b"
        return real(self, mode, buffering, *more)

    monkeypatch.setattr(Path, "open", opened)
    said = found_alone(tmp_path, "lines are appended")
    assert said == "200 of 400 lines of two writers were lost"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte and 16 files."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=16", "none", str(place)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_found(small_disk: Path) -> None:
    found = filesystem.check_free_space(small_disk, 2_000_000, 0, "1 run")
    assert (found.level, "2.0 MB needed" in found.message) == ("problem", True)
    assert filesystem.check_free_space(small_disk, 500_000, 0, "1 run").level == "ok"
    assert filesystem.check_free_space(small_disk, None, 10**9, "1 run").level == "warning"
    (small_disk / "ballast").write_bytes(bytes(1 << 20))
    assert set(levels(filesystem.check_file_system(small_disk)).values()) == {"problem", "ok"}


def test_too_few_files_are_found(small_disk: Path) -> None:
    assert filesystem.check_inodes(small_disk, 1).level == "problem"
    assert filesystem.check_inodes(small_disk.parent, 1).level == "ok"


# ---- software ------------------------------------------------------------------------------------

PROJECT = """\
[project]
requires-python = "{python}"
dependencies = [{dependencies}]
"""


def project(root: Path, *dependencies: str, python: str = ">=3.11", tested: str = "") -> Path:
    listed = ", ".join(f'"{d}"' for d in dependencies)
    (root / "pyproject.toml").write_text(PROJECT.format(python=python, dependencies=listed))
    (root / "constraints.txt").write_text(tested)
    return root


def test_this_installation_is_as_required() -> None:
    found = levels(packages.check_packages(ROOT))
    assert found["Python"] == found["libraries"] == "ok"


def test_an_old_python_is_found(tmp_path: Path) -> None:
    (python, *_) = packages.check_packages(project(tmp_path, python=">=3.99"))
    assert (python.level, ">=3.99" in python.message) == ("problem", True)


@pytest.mark.parametrize("line", ["numpy>=99", "no-such-library>=1"])
def test_an_old_or_missing_library_is_found(tmp_path: Path, line: str) -> None:
    found = packages.check_packages(project(tmp_path, "pytest>=1", line))[1]
    assert found.level == "problem"
    assert "pip install" in found.fix
    assert ("missing" in found.message) == line.startswith("no-such")


def test_other_versions_than_tested_are_found(tmp_path: Path) -> None:
    found = packages.check_packages(project(tmp_path, tested="numpy==0.1\nno-such-library==1\n"))[2]
    assert (found.level, "numpy" in found.message) == ("warning", True)
    assert "no-such" not in found.message, "what is not needed need not be there"


# ---- a device ------------------------------------------------------------------------------------


def test_torch_and_the_device_are_looked_at_in_another_process() -> None:
    torch, absent = device.check_device("nonsense:7")
    assert (torch.level, "timm" in torch.message) == ("ok", True)
    assert (absent.level, "runtime.device=cpu" in absent.fix) == ("problem", True)


SEEN = {"versions": dict.fromkeys(device.REQUIRED_MODULES, "1"), "gpus": 2, "error": None}


def test_too_few_gpus_are_found() -> None:
    assert set(levels(device.build_diagnostics(SEEN, "cuda", 2)).values()) == {"ok"}
    wrong = device.build_diagnostics(SEEN, "cuda", 3)[1]
    assert (wrong.level, wrong.fix) == ("problem", "launcher.max_workers=2, or more GPUs")


def test_a_broken_library_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise ImportError('libjpeg.so.8: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (found,) = device.check_device("cpu")
    assert (found.level, "libjpeg" in found.message) == ("problem", True)


def test_imports_that_hang_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(device, "IMPORT_TIMEOUT_SECONDS", 1)
    (found,) = device.check_device("cpu")
    assert (found.level, found.message) == ("problem", "its imports did not end in 1 s")


# ---- a cluster, by what it said ------------------------------------------------------------------

CONFIG = {
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "JobRequeue": "1",
    "MaxArraySize": "1001",
    "MaxJobCount": "10000",
    "MinJobAge": "300 sec",
    "AccountingStorageType": "accounting_storage/none",
}
OURS = {"PartitionName": "gpu", "Default": "YES", "MaxTime": "1-00:00:00", "PriorityTier": "1",
        "PreemptMode": "REQUEUE", "GraceTime": "60"}  # fmt: skip
URGENT = {"PartitionName": "urgent", "PriorityTier": "9", "MaxTime": "UNLIMITED"}


def seen(
    config: dict[str, str] | None = None, ours: dict[str, str] | None = None, **other: Any
) -> ClusterInfo:
    partitions = {"gpu": {**OURS, **(ours or {})}, "urgent": URGENT}
    known: dict[str, Any] = {"nodes": {"idle": 2}, "most_submitted": None, "refusal": None}
    return ClusterInfo(
        config={**CONFIG, **(config or {})}, partitions=partitions, **{**known, **other}
    )


def test_a_good_cluster_has_nothing_wrong() -> None:
    assert set(levels(slurm_cluster.run_checks(seen(), JobRequirements())).values()) == {"ok"}


WRONG: list[tuple[str, str, ClusterInfo, JobRequirements]] = [
    ("partition", "problem", seen(), JobRequirements(partition="gpus")),
    ("partition", "problem", seen(ours={"Default": "NO"}), JobRequirements()),
    ("nodes", "problem", seen(nodes={"idle": 1, "down*": 3}), JobRequirements(nodes=2)),
    ("sbatch takes such a job", "problem", seen(refusal="Invalid account"), JobRequirements()),
    ("time limit", "problem", seen(), JobRequirements(timeout_min=24 * 60 + 1)),
    ("time to save", "warning", seen(ours={"GraceTime": "999"}), JobRequirements(save_seconds=121)),
    ("time to save", "warning", seen(), JobRequirements(save_seconds=50, signal_delay_s=49)),
    (
        "GPUs asked for",
        "warning",
        seen(),
        JobRequirements(gpu_mismatch="8 GPUs a node are asked for"),
    ),
    ("array limit", "warning", seen({"MaxArraySize": "8"}), JobRequirements(num_jobs=9)),
    ("array limit", "warning", seen({"MaxArraySize": "0"}), JobRequirements(num_jobs=2)),
    ("job limit", "warning", seen({"MaxJobCount": "10"}), JobRequirements(num_jobs=10)),
    ("job limit", "warning", seen(most_submitted=3), JobRequirements(num_jobs=3)),
    ("requeue", "warning", seen({"JobRequeue": "0"}), JobRequirements()),
    ("preemption", "warning", seen(ours={"GraceTime": "0"}), JobRequirements()),
    ("preemption", "warning", seen(), JobRequirements(save_seconds=90)),
    ("preemption", "warning", seen(ours={"PreemptMode": "CANCEL"}), JobRequirements()),
    ("preemption", "warning", seen(ours={"PreemptMode": "GANG,SUSPEND"}), JobRequirements()),
    (
        "preemption",
        "warning",
        seen({"PreemptType": "preempt/qos", "PreemptMode": "CANCEL"}),
        JobRequirements(),
    ),
    ("states of ended jobs", "warning", seen({"MinJobAge": "2 sec"}), JobRequirements()),
]


@pytest.mark.parametrize(("check", "level", "cluster_", "need"), WRONG)
def test_each_thing_that_is_wrong_is_found_alone(
    check: str, level: str, cluster_: ClusterInfo, need: JobRequirements
) -> None:
    found = slurm_cluster.run_checks(cluster_, need)
    assert {f.check: f.level for f in found if f.level != "ok"} == {check: level}
    assert all(f.fix for f in found if f.level != "ok")


@pytest.mark.parametrize(
    "cluster_",
    [
        seen({"PreemptType": "preempt/none"}, {"GraceTime": "0"}),
        seen(ours={"PreemptMode": "OFF", "GraceTime": "0"}),
        seen(ours={"PriorityTier": "9", "GraceTime": "0"}),
    ],
)
def test_where_nothing_preempts_there_is_nothing_to_warn_of(cluster_: ClusterInfo) -> None:
    assert levels(slurm_cluster.run_checks(cluster_, JobRequirements()))["preemption"] == "ok"


def test_what_slurm_prints_is_read() -> None:
    assert [slurm_cluster.parse_leading_int(t) for t in ("300 sec", "8", None, "n/a")] == [
        300,
        8,
        0,
        0,
    ]
    said = ["UNLIMITED", "1-12:00:00", "00:30:00", "90:00", "00:00:30"]
    assert list(map(slurm_cluster.parse_time_limit_minutes, said)) == [math.inf, 2160, 30, 90, 0.5]
    assert slurm_cluster.parse_smallest_limit(["", "40", "7"]) == 7
    assert slurm_cluster.parse_smallest_limit(["", ""]) is None
    told = "sbatch: error: Batch job submission failed: Invalid account\n"
    assert slurm_cluster.extract_last_line(told) == "Batch job submission failed: Invalid account"


def test_what_a_launcher_asks_for_becomes_options_of_sbatch() -> None:
    asked = {
        "job_name": "x",
        "partition": "gpu",
        "gpus_per_node": 2,
        "setup": ["module load x"],
        "additional_parameters": {"hold": True, "requeue": True, "reservation": "r"},
    }
    said = ("--partition=gpu", "--gpus-per-node=2", "--requeue", "--reservation=r")
    assert slurm_cluster.format_sbatch_options(asked) == said


def test_no_slurm_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (found,) = slurm_cluster.check_cluster(JobRequirements())
    assert (found.level, "launcher=local" in found.fix) == ("problem", True)


# ---- a compute node, by its report ---------------------------------------------------------------


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / test_job.TOKEN_FILE).write_text("t")
    seen_ = {"host": "n1", "time": time.time(), "token": "t", "submits": True}
    good = [dataclasses.asdict(f) for f in filesystem.check_file_system(tmp_path)]
    return {**seen_, "findings": good}


def judged(report: dict[str, Any]) -> dict[str, str]:
    now = time.time()
    return {
        f.check: f.level
        for f in test_job.build_diagnostics(report, "t", now - 60, now + 1)
        if f.level != "ok"
    }


def test_a_node_that_sees_all_has_nothing_wrong(report: dict[str, Any]) -> None:
    assert judged(report) == {}


def test_a_folder_that_is_not_shared_is_found(report: dict[str, Any]) -> None:
    assert judged({**report, "token": ""}) == {"shared folder": "problem"}


@pytest.mark.parametrize("off", [-120.0, 60.0])
def test_a_clock_that_is_off_is_found(report: dict[str, Any], off: float) -> None:
    assert judged({**report, "time": report["time"] + off}) == {"clock": "warning"}


def test_a_node_that_may_not_submit_is_found(report: dict[str, Any]) -> None:
    assert judged({**report, "submits": False}) == {"follow-up": "warning"}


def test_what_is_wrong_on_the_node_is_said_of_the_node(report: dict[str, Any]) -> None:
    worse = dataclasses.asdict(filesystem.problem("files are kept", "no", "yes"))
    report["findings"].append(worse)
    assert judged(report) == {"files are kept on n1": "problem"}


def test_a_test_job_that_waits_in_vain_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And taken back. (Before a queue in three lines of shell; a real one: tests/slurm.)"""
    programs = {
        "sbatch": "echo 77",
        "scontrol": "echo JobId=77 JobState=PENDING Reason=Resources Requeue=1",
        "scancel": f"echo $1 > {tmp_path / 'cancelled'}",
    }
    for name, rest in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{rest}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(test_job, "TIME_LIMIT_MINUTES", 0.01)
    found = test_job.run_test_job(
        tmp_path, JobRequirements(), device_name="cpu", gpus_per_node=0, python="python", setup=()
    )
    assert levels(found) == {"test job": "warning", "requeue granted": "ok"}
    assert found[0].message == "job 77 was pending for 0.01 minutes (Resources)"
    assert found[0].fix
    assert (tmp_path / "cancelled").read_text() == "77\n"


def test_a_requeue_that_was_taken_away_is_found() -> None:
    assert test_job.check_requeue("JobId=1 Requeue=0 Restarts=0").level == "warning"
    assert test_job.check_requeue("JobId=1 Requeue=1 Restarts=0").level == "ok"
