"""`notebook`: which file is written, what is printed, and how Jupyter is started."""

from __future__ import annotations

import os
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


def test_the_notebook_is_written_and_jupyter_is_started_with_it(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The exit status is Jupyter's; without it one line says what to do, and an edit is named."""
    path = store.report_path(SWEEP) / "report.ipynb"
    words = ("notebook", "components", f"store={store.root}", "--open")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.setattr(notebook_command, "JUPYTER_PROGRAMS", ("jupyter-uniclip-test",))
        assert execute(*words) == 2
        output = capsys.readouterr()
        assert output.out.splitlines() == [f"notebook: {path}"]
        assert "pip install jupyterlab" in output.err
        path.write_bytes(path.read_bytes() + b"\n")
        program = tmp_path / "jupyter-uniclip-test"
        program.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\nexit 3\n')
        os.chmod(program, 0o755)
        assert execute(*words) == 3
    assert capsys.readouterr().out.splitlines() == [
        "note: report.ipynb was edited and stays as it is",
        f"notebook: {path}",
    ]
    assert (tmp_path / "opened").read_text().strip() == str(path)


def test_a_file_that_exists_is_not_replaced(
    store: Store, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_folder / "mine.ipynb").write_text("mine")
    assert execute("notebook", SWEEP, f"store={store.root}", "--to=mine.ipynb") == 2
    assert "mine.ipynb exists and is not replaced" in capsys.readouterr().err
    assert (work_folder / "mine.ipynb").read_text() == "mine"
