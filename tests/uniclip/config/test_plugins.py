"""Plug-ins are imported from the working folder; mistakes are one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from uniclip.config import plugins
from uniclip.errors import UserError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; what a test imports is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_plugin_paths", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def test_a_file_and_a_package_are_found_by_their_top_level_name(folder: Path) -> None:
    (folder / "plugin_file.py").write_text("VALUE = 1\n")
    (folder / "plugin_package" / "inner").mkdir(parents=True)
    for path in ("plugin_package/__init__.py", "plugin_package/inner/__init__.py"):
        (folder / path).touch()
    plugins.import_plugins(["plugin_file", "plugin_package.inner"])
    expected = (folder / "plugin_file.py", folder / "plugin_package")
    assert plugins.get_plugin_paths() == expected
    python_path = plugins.build_python_path(folder / "extra").split(os.pathsep)
    assert python_path[:2] == [str(folder / "extra"), str(folder)]


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["plugin_nowhere"], "plugin_nowhere cannot be imported"),
        (["plugin_broken"], r"plugin_broken cannot be imported \(ZeroDivisionError"),
        (["plugin_folder"], "plugin_folder is a folder without an __init__.py"),
        (3, "plugins must be a list"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, names: list[str], match: str) -> None:
    (folder / "plugin_broken.py").write_text("1 / 0\n")
    (folder / "plugin_folder").mkdir()
    with pytest.raises(UserError, match=match) as caught:
        plugins.import_plugins(names)
    assert "\n" not in str(caught.value)
