"""Each check of a file system fails if its operation is missing or broken."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.doctor import filesystem
from sweeps.doctor.diagnostic import Diagnostic, parse_diagnostic
from tests.helpers import ROOT
from tests.helpers.deny_syscalls import CALLS

CHECK_PROGRAM = (
    "import json, sys; from dataclasses import asdict; from pathlib import Path;"
    "from sweeps.doctor import filesystem;"
    "print(json.dumps([asdict(d) for d in filesystem.check_file_system(Path(sys.argv[1]))]))"
)


def levels(diagnostics: list[Diagnostic]) -> dict[str, str]:
    return {d.check: d.level for d in diagnostics}


def test_working_folder_passes_and_is_left_empty(tmp_path: Path) -> None:
    assert set(levels(filesystem.check_file_system(tmp_path)).values()) == {"ok"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(platform.machine() not in CALLS, reason="numbers of its calls are not known")
@pytest.mark.parametrize(
    ("call", "check"),
    [
        ("link", "exclusive link"),
        ("rename", "atomic rename"),
        ("fsync", "fsync"),
    ],
)
def test_missing_system_call_is_reported(tmp_path: Path, call: str, check: str) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.helpers.deny_syscalls",
        call,
        sys.executable,
        "-c",
        CHECK_PROGRAM,
    ]
    completed = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    diagnostics = [parse_diagnostic(record) for record in json.loads(completed.stdout)]
    (failed,) = [d for d in diagnostics if d.level != "ok"]
    assert (failed.check, failed.level) == (check, "problem")
    assert "store=" in failed.fix


def get_only_problem(folder: Path, check: str) -> str:
    """Return the message of the one check that a folder does not pass."""
    (failed,) = [d for d in filesystem.check_file_system(folder) if d.level != "ok"]
    assert (failed.check, failed.level) == (check, "problem")
    assert "store=" in failed.fix
    assert list(folder.iterdir()) == []
    return failed.message


def test_link_over_an_existing_name_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(os, "link", link)
    assert "a link replaces an existing name" in get_only_problem(tmp_path, "exclusive link")


@pytest.mark.parametrize("observation", ["half of it", "No such file"])
def test_rename_in_two_steps_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observation: str
) -> None:
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if observation == "half of it":
            target.write_bytes(source.read_bytes()[:100])
        else:
            target.unlink()
        time.sleep(0.002)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    message = get_only_problem(tmp_path, "atomic rename")
    assert f"a reader saw {observation}" in message


def test_lost_appended_lines_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writer continues at its own offset, as where a client emulates O_APPEND."""
    real = Path.open

    def opened(self: Path, mode: str = "r", buffering: int = -1, *more: Any) -> Any:
        if mode == "ab":
            self.touch()
            mode = "r+b"
        return real(self, mode, buffering, *more)

    monkeypatch.setattr(Path, "open", opened)
    message = get_only_problem(tmp_path, "append")
    assert message == "200 of 400 lines of two writers were lost"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte and 16 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=16", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_reported(small_disk: Path) -> None:
    diagnostic = filesystem.check_free_space(small_disk, 2_000_000, 0, "1 run")
    assert (diagnostic.level, "2.0 MB needed" in diagnostic.message) == ("problem", True)
    assert filesystem.check_free_space(small_disk, 500_000, 0, "1 run").level == "ok"
    unmeasured = filesystem.check_free_space(small_disk, None, 10**9, "1 run")
    assert (unmeasured.level, "less than any run" in unmeasured.message) == ("problem", True)
    (small_disk / "ballast").write_bytes(bytes(1 << 20))
    assert set(levels(filesystem.check_file_system(small_disk)).values()) == {"problem", "ok"}


def test_too_few_inodes_are_reported(small_disk: Path) -> None:
    assert filesystem.check_inodes(small_disk, 1).level == "problem"
    assert filesystem.check_inodes(small_disk.parent, 1).level == "ok"
