"""A new project, and the examples: what is written runs as its README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import execute, read_files


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init") / "my_project"
    assert execute("init", str(folder)) == 0
    return folder


def read_commands(project: Path) -> list[list[str]]:
    """Return the words of each command of the README, without the program."""
    text = (project / "README.md").read_text()
    lines = re.findall(r"^    (.*\bablation=.*)$", text, re.M)
    return [shlex.split(line)[2:] for line in lines]


def run_in(project: Path, *words: str) -> str:
    command = [sys.executable, str(ROOT / "sweep.py"), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]
    return done.stdout


def test_the_sweeps_of_a_new_project_are_planned(project: Path) -> None:
    commands = read_commands(project)
    assert len(commands) == 3
    for words in commands[1:]:
        assert "cells" in run_in(project, "plan", *words)
    assert run_in(project, *commands[0])


@pytest.mark.soak
@pytest.mark.skipif("UNICLIP_SOAK" not in os.environ, reason="a minute: `make soak`")
def test_the_sweeps_of_a_new_project_run(project: Path) -> None:
    """The user's method, data and ablation; then the user's component, which is audited."""
    small = ("seeds=1", "train.steps=4", "train.batch_size=16")
    _, methods, component = read_commands(project)
    assert "2 complete" in run_in(project, *methods, *small)
    assert "checks passed" in run_in(project, *component, *small)


def test_nothing_is_overwritten(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_files(project)
    for words in ((str(project),), (str(project / "README.md"),), (), ("a", "b"), ("a", "b=1")):
        assert execute("init", *words) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert read_files(project) == before


def test_the_example_for_slurm_is_understood(tmp_path: Path) -> None:
    """With a launcher of this machine in its place: its words name a sweep."""
    script = ROOT / "examples/slurm/sweep.sh"
    subprocess.run(["bash", "-n", script], check=True)
    environment = {
        **os.environ,
        "STORE": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/bin:/usr/bin",
    }
    done = subprocess.run([script, "plan"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "components-study-" in done.stdout


def test_the_next_command_names_a_folder_with_a_space_as_one_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my project"
    assert execute("init", str(folder)) == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    assert shlex.split(command)[:3] == ["cd", str(folder), "&&"]
