"""`notebook`: which file is written, what is printed, and how Jupyter is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sweeps.cli.commands import notebook as notebook_command
from tests.helpers import fake_sweep
from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store

SWEEP = fake_sweep.plan(Truth()).sweep_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store with a finished synthetic sweep."""
    return fake_sweep.make(tmp_path_factory.mktemp("notebook"), Truth(seeds=(0,)))[0]


def test_the_notebook_of_the_report_is_written_and_an_edited_one_named(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.report_path(SWEEP) / "report.ipynb"
    assert execute("notebook", SWEEP, f"store={store.root}") == 0
    assert capsys.readouterr().out.splitlines() == [f"notebook: {path}"]
    path.write_bytes(path.read_bytes() + b"\n")
    assert execute("notebook", "components", f"store={store.root}") == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: report.ipynb was edited and stays as it is",
        f"notebook: {path}",
    ]


def test_jupyter_is_started_with_the_notebook(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its exit status is that of the command; without Jupyter one line says what to do."""
    words = ("notebook", SWEEP, f"store={store.root}", "--open")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert execute(*words) == 2
    assert "pip install jupyterlab" in capsys.readouterr().err
    program = tmp_path / notebook_command.JUPYTER_PROGRAMS[0]
    program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\nexit 3\n')
    os.chmod(program, 0o755)
    assert execute(*words) == 3
    opened = (tmp_path / "opened").read_text().strip()
    assert opened == str(store.report_path(SWEEP) / "report.ipynb")


def test_a_file_that_exists_is_not_replaced(
    store: Store, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_folder / "mine.ipynb").write_text("mine")
    assert execute("notebook", SWEEP, f"store={store.root}", "--to=mine.ipynb") == 2
    assert "mine.ipynb exists and is not replaced" in capsys.readouterr().err
    assert (work_folder / "mine.ipynb").read_text() == "mine"
