"""The notebook: it is executed, and contains nothing of the machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

from analysis.report.build import ReportResult
from analysis.report.notebook import NotebookRunner
from uniclip.store import Store


def test_the_notebook_is_executed(built_report: tuple[Store, str, ReportResult]) -> None:
    path = built_report[2].folder / "report.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert all(c.outputs for c in code)
    assert not any(o.output_type in ("error", "stream") for c in code for o in c.outputs)
    assert "main:awareness" in code[1].outputs[0].data["text/plain"]
    assert str(built_report[0].root) not in path.read_text()


def test_a_long_temporary_folder_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a socket may have about 100 bytes."""
    long_folder = tmp_path / ("a" * 110)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    with NotebookRunner(tmp_path) as runner:
        runner.add([new_code_cell("1 + 1")])
        runner.add([new_code_cell("2 + 2")])
        notebook = runner.finish()
    texts = [cell.outputs[0].data["text/plain"] for cell in notebook.cells]
    assert texts == ["2", "4"]
    assert [cell.id for cell in notebook.cells] == ["cell-0", "cell-1"]
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert list(long_folder.iterdir()) == []


def test_the_error_of_a_cell_is_raised(tmp_path: Path) -> None:
    with NotebookRunner(tmp_path) as runner:
        runner.add([new_code_cell("1 / 0"), new_code_cell("2 + 2")])
        with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
            runner.finish()


def test_an_error_outside_stops_the_kernel(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NotebookRunner(tmp_path) as runner:  # noqa: PT012
        runner.add([new_code_cell("1 + 1")])
        raise KeyError
