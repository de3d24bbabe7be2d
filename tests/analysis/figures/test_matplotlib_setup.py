"""Matplotlib is imported whatever the user's settings are, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uniclip.identity import ROOT

IMPORT = """
import os
from analysis.figures.matplotlib_setup import import_matplotlib
before = dict(os.environ), os.getcwd()
import_matplotlib()
assert (dict(os.environ), os.getcwd()) == before
import matplotlib
print(matplotlib.rcParams["backend"].lower(), matplotlib.rcParams["lines.linewidth"])
"""


def run_import(folder: Path, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    completed = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert completed.stderr == ""
    return completed.stdout.strip()


@pytest.mark.parametrize("place", ["current folder", "variable", "configuration"])
def test_a_broken_settings_file_is_not_read(tmp_path: Path, place: str) -> None:
    settings = tmp_path / "settings" / "matplotlibrc"
    folder = settings.parent if place == "current folder" else tmp_path
    settings.parent.mkdir()
    settings.write_bytes(b"lines.linewidth: nonsense\nno such key: \xff\xfe\n")
    variables = {"MPLBACKEND": "no such backend"}
    if place == "variable":
        variables["MATPLOTLIBRC"] = str(settings)
    if place == "configuration":
        variables["MPLCONFIGDIR"] = str(settings.parent)
    assert run_import(folder, **variables) == "agg 1.5"


def test_a_home_that_cannot_be_written_is_no_problem(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file in place of a folder")
    variables = {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    assert run_import(tmp_path, **variables, TMPDIR=str(tmp_path)) == "agg 1.5"
