"""The notebook: it is executed, and contains nothing of the machine."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from analysis.report import notebook as notebooks
from analysis.report.build import ReportResult
from analysis.report.notebook import ExecutedNotebook, NotebookCell, NotebookRunner
from uniclip.store import Store


def test_the_notebook_is_executed(built_report: tuple[Store, str, ReportResult]) -> None:
    path = built_report[2].folder / "report.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not code[0].outputs
    assert code[0].metadata["tags"] == ["parameters"]
    assert all(c.outputs for c in code[1:])
    outputs = [o for c in code for o in c.outputs]
    assert not any(o.output_type == "error" or o.get("name") == "stderr" for o in outputs)
    assert any("main:awareness" in o.data["text/plain"] for o in outputs if "data" in o)
    assert str(built_report[0].root) not in path.read_text()


def test_a_long_temporary_folder_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a socket may have about 100 bytes."""
    long_folder = tmp_path / ("a" * 110)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    with NotebookRunner(tmp_path) as runner:
        runner.add([NotebookCell("code", "1 + 1")])
        runner.add([NotebookCell("code", "2 + 2")])
        executed = runner.finish()
    notebook = executed.notebook
    assert notebook is not None
    assert executed.failure == ""
    texts = [cell.outputs[0].data["text/plain"] for cell in notebook.cells]
    assert texts == ["2", "4"]
    assert [cell.id for cell in notebook.cells] == ["cell-0", "cell-1"]
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert list(long_folder.iterdir()) == []


def test_the_cells_after_an_error_are_kept(tmp_path: Path) -> None:
    with NotebookRunner(tmp_path) as runner:
        runner.add([NotebookCell("code", "1 / 0"), NotebookCell("code", "2 + 2")])
        executed = runner.finish()
    assert executed.failure == "ZeroDivisionError: division by zero"
    assert executed.notebook is not None
    assert [cell.source for cell in executed.notebook.cells] == ["1 / 0", "2 + 2"]
    (sentence,) = notebooks.describe_failure(executed)
    assert sentence.startswith("The notebook report.ipynb has cells without results: ZeroDivision")
    assert notebooks.describe_failure(ExecutedNotebook(executed.notebook)) == []


def test_a_library_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nbclient", None)
    with NotebookRunner(tmp_path) as runner:
        runner.add([NotebookCell("code", "2 + 2")])
        executed = runner.finish()
    assert executed.failure.startswith("nbclient cannot be imported")
    assert executed.notebook is not None
    assert len(executed.notebook.cells) == 1
    monkeypatch.setitem(sys.modules, "nbformat", None)
    with NotebookRunner(tmp_path) as runner:
        runner.add([NotebookCell("code", "2 + 2")])
        executed = runner.finish()
    assert executed.notebook is None
    assert "is not written: nbformat cannot be imported" in notebooks.describe_failure(executed)[0]


def test_an_error_outside_stops_the_kernel(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NotebookRunner(tmp_path) as runner:  # noqa: PT012
        runner.add([NotebookCell("code", "1 + 1")])
        raise KeyError
