"""The wheel holds everything that the program needs: it runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.source_tree import PACKAGES


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command without the variables that would let it find the checkout."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the tree: building writes into it."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in (*PACKAGES, "sweep.py", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree)
    command = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet")
    built = run(*command, "--wheel-dir", folder, tree, cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it, which borrows the dependencies of this one.

    The other site-packages folder is appended to the path, where its own `.pth` files (an editable
    installation of the checkout, for one) have no effect.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--quiet")
    done = run(*pip, wheel, cwd=folder)
    assert done.returncode == 0, done.stderr
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def test_every_data_file_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(expected) > 250
    assert sorted(expected - names) == []
    assert "sweep.py" in names
    assert not [n for n in names if n.startswith("tests/")]


def test_the_metadata_is_complete(wheel: Path) -> None:
    (name,) = [n for n in zipfile.ZipFile(wheel).namelist() if n.endswith(".dist-info/METADATA")]
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    for line in (
        "Name: uniclip-ablations",
        "License-Expression: Apache-2.0",
        "License-File: LICENSE",
        "Author: ",
        "Project-URL: ",
        "Classifier: Typing :: Typed",
        "Requires-Python: >=3.11",
    ):
        assert line in metadata


def test_the_installed_command_plans_outside_a_checkout(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "uniclip-sweep", "plan", "ablation=components", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "full/0" in done.stdout
    assert list(tmp_path.iterdir()) == [], "plan writes nothing"
    modules = "import uniclip.run, sweeps.cli.main; print(uniclip.run.__file__)"
    located = run(installed / "python", "-c", modules, cwd=tmp_path)
    assert located.stdout.startswith(str(installed.parent)), located.stderr


def test_the_installed_commands_say_their_version_and_usage(
    installed: Path, tmp_path: Path
) -> None:
    version = run(installed / "uniclip-sweep", "--version", cwd=tmp_path)
    assert version.stdout.startswith("uniclip-ablations 0.")
    for name in ("uniclip-evaluate", "uniclip-export"):
        usage = run(installed / name, "--help", cwd=tmp_path)
        assert usage.returncode == 0, usage.stderr
        assert name in usage.stdout


def test_another_package_of_the_same_name_is_refused(installed: Path, tmp_path: Path) -> None:
    """PyPI has a clipboard tool named uniclip, and wandb a package named sweeps."""
    for package in ("uniclip", "sweeps"):
        foreign = tmp_path / f"with_{package}"
        (foreign / package).mkdir(parents=True)
        (foreign / package / "__init__.py").write_text("COPY = 'paste'\n")
        done = run(installed / "uniclip-sweep", "list", cwd=tmp_path, PYTHONPATH=str(foreign))
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert package in line
        assert str(foreign) in line
