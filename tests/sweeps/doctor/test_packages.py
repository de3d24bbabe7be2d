"""Python and libraries are compared with the project's requirements."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from sweeps.doctor import packages
from sweeps.doctor.diagnostic import Diagnostic
from tests.helpers import ROOT


def levels(diagnostics: list[Diagnostic]) -> dict[str, str]:
    return {d.check: d.level for d in diagnostics}


PROJECT = """\
[project]
requires-python = "{python}"
dependencies = [{dependencies}]
"""


def project(root: Path, *dependencies: str, python: str = ">=3.11", tested: str = "") -> Path:
    dependency_list = ", ".join(f'"{d}"' for d in dependencies)
    (root / "pyproject.toml").write_text(
        PROJECT.format(python=python, dependencies=dependency_list)
    )
    (root / "constraints.txt").write_text(tested)
    return root


def test_this_installation_meets_the_requirements() -> None:
    diagnostic_levels = levels(packages.check_packages(ROOT))
    assert diagnostic_levels["Python"] == diagnostic_levels["libraries"] == "ok"


def test_old_python_is_reported(tmp_path: Path) -> None:
    (python, *_) = packages.check_packages(project(tmp_path, python=">=3.99"))
    assert (python.level, ">=3.99" in python.message) == ("problem", True)


@pytest.mark.parametrize("line", ["numpy>=99", "no-such-library>=1"])
def test_old_or_missing_library_is_reported(tmp_path: Path, line: str) -> None:
    diagnostic = packages.check_packages(project(tmp_path, "pytest>=1", line))[1]
    assert diagnostic.level == "problem"
    assert "pip install" in diagnostic.fix
    assert ("missing" in diagnostic.message) == line.startswith("no-such")


def test_versions_that_were_not_tested_are_reported(tmp_path: Path) -> None:
    diagnostic = packages.check_packages(
        project(tmp_path, tested="numpy==0.1\nno-such-library==1\n")
    )[2]
    assert (diagnostic.level, "numpy" in diagnostic.message) == ("warning", True)
    assert "no-such" not in diagnostic.message, "a library that is not installed is passed over"


@pytest.mark.parametrize(
    ("content", "message"),
    [("raise ImportError('libm.so.9')", "cannot be imported (ImportError: libm.so.9)"), ("", "")],
)
def test_library_that_is_imported_from_elsewhere_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, message: str
) -> None:
    """A file of the user's has the name of a library."""
    shadow_path = tmp_path / "threadpoolctl.py"
    shadow_path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "threadpoolctl", raising=False)
    diagnostic = packages.check_requirements(["threadpoolctl>=3"])
    assert diagnostic.level == ("problem" if message else "ok")
    assert (f"{shadow_path} {message}" in diagnostic.message) == bool(message)
    assert ("remove or correct that file" in diagnostic.fix) == bool(message)


def test_pre_release_meets_a_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.metadata, "version", lambda name: "99.1.dev20260101")
    assert packages.check_requirements(["numpy>=2"]).level == "ok"


def test_an_installed_distribution_states_its_requirements(tmp_path: Path) -> None:
    """There is no pyproject.toml beside an installed package."""
    names = {Requirement(line).name for line in packages.list_requirements(tmp_path)}
    assert names <= {Requirement(line).name for line in packages.list_requirements(ROOT)}
    (diagnostic,) = packages.check_packages(tmp_path)
    assert (diagnostic.check, diagnostic.level) == ("libraries", "ok")
