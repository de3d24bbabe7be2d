"""The kernel is this interpreter, whatever the user has set up."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from analysis.report import kernel
from analysis.report.notebook import ExecutedNotebook, NotebookCell, NotebookRunner
from tests.helpers import ROOT

SHOW = "import os, sys; print(sys.executable, os.environ['HOME'] == os.environ.get('USED_HOME'))"


def execute(folder: Path) -> ExecutedNotebook:
    with NotebookRunner(folder) as runner:
        runner.add([NotebookCell("code", SHOW)])
        return runner.finish()


def test_specs_startup_files_and_settings_of_the_user_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, startup = tmp_path / "home", tmp_path / "home/.ipython/profile_default/startup"
    specs = home / ".local/share/jupyter/kernels"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("import os; os._exit(3)")
    (home / "ipython_config.py").write_text("1 / 0")
    for name in ("python3", kernel.KERNEL_NAME):
        (specs / name).mkdir(parents=True)
        spec = {"argv": ["/bin/false"], "display_name": "x", "language": "python"}
        (specs / name / "kernel.json").write_text(json.dumps(spec))
    for name, value in {
        "HOME": home,
        "USED_HOME": home,
        "JUPYTER_PATH": specs.parent,
        "JUPYTER_DATA_DIR": specs.parent,
        "JUPYTER_PREFER_ENV_PATH": 0,
        "JUPYTER_CONFIG_DIR": home,
        "IPYTHONDIR": home / ".ipython",
        "PYTHONSTARTUP": startup / "00.py",
        "MPLBACKEND": "no such backend",
        "PYTHONWARNINGS": "error",
    }.items():
        monkeypatch.setenv(name, str(value))
    executed = execute(tmp_path)
    assert executed.failure == ""
    assert executed.notebook is not None
    assert executed.notebook.cells[0].outputs[0].text.split() == [sys.executable, "False"]


def test_a_kernel_that_dies_leaves_the_cells_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "packages"
    broken.mkdir()
    (broken / "ipykernel_launcher.py").write_text("raise SystemExit('there is no kernel')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    executed = execute(tmp_path)
    assert "there is no kernel" in executed.failure
    assert "\n" not in executed.failure
    assert executed.notebook is not None
    assert [cell.source for cell in executed.notebook.cells] == [SHOW]
    assert executed.notebook.cells[0].outputs == []


def test_the_environment_keeps_what_packages_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    environment = kernel.build_environment(tmp_path)
    assert environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}/some/where"
    assert "JUPYTER_PLATFORM_DIRS" not in environment
    assert environment["HOME"].startswith(str(tmp_path))
    assert kernel.read_last_line(tmp_path) == ""
