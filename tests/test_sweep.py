"""`sweep.py`: it recognizes the packages that it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sweep
from tests.helpers import ROOT


def run_console_command(
    function: str,
    *arguments: str,
    python_path: list[Path],
    cwd: Path,
    site_packages: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a function of sweep.py as a console command does, with these folders on sys.path."""
    code = f"import sys, sweep; sys.argv[0] = 'uniclip-sweep'; sys.exit(sweep.{function}())"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python_path))}
    return subprocess.run(
        [sys.executable, "-P" if site_packages else "-PS", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


@pytest.mark.parametrize("package", ["sweeps", "uniclip"])
@pytest.mark.parametrize("function", ["main", "evaluate", "export"])
def test_another_package_of_the_same_name_is_one_line_and_status_two(
    package: str, function: str, tmp_path: Path
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    done = run_console_command(function, "--help", python_path=[tmp_path, ROOT], cwd=tmp_path)
    assert done.returncode == sweep.EXIT_USER_ERROR
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"package {package!r}: {tmp_path / package} is another package" in done.stderr


def test_another_module_of_the_same_name_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "sweeps.py").write_text("raise RuntimeError('imported')\n")
    done = run_console_command("main", "--help", python_path=[tmp_path, ROOT], cwd=tmp_path)
    assert done.returncode == sweep.EXIT_USER_ERROR
    assert f"{tmp_path / 'sweeps.py'} is another package" in done.stderr


def test_a_package_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_bytes((ROOT / "sweep.py").read_bytes())
    done = run_console_command(
        "main", "--help", python_path=[tmp_path], cwd=tmp_path, site_packages=False
    )
    assert done.returncode == sweep.EXIT_USER_ERROR
    assert done.stderr.count("\n") == 1
    assert "it is not installed" in done.stderr


def test_the_packages_beside_it_are_imported(tmp_path: Path) -> None:
    done = run_console_command("main", "--help", python_path=[ROOT], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: uniclip-sweep [command]")
    for package, required_file in sweep.REQUIRED_FILES.items():
        assert (ROOT / package / required_file).is_file()


def test_the_evaluation_of_one_model_reports_its_errors(tmp_path: Path) -> None:
    done = run_console_command("evaluate", python_path=[ROOT], cwd=tmp_path)
    assert done.returncode == sweep.EXIT_USER_ERROR
    assert "run= is missing" in done.stderr
