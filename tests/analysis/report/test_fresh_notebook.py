"""A notebook outside the report: written once, and with the path of the store."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from analysis.report.build import ReportResult
from analysis.report.fresh_notebook import write_notebook
from uniclip.errors import UserError
from uniclip.store import Store


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("UNICLIP_SOAK"), reason="run by make soak")
def test_a_fresh_notebook_is_executed_anywhere(
    built_report: tuple[Store, str, ReportResult], tmp_path: Path
) -> None:
    store, sweep, _ = built_report
    path = tmp_path / "mine.ipynb"
    assert write_notebook(store, sweep, path) == []
    notebook = nbformat.read(path, as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert repr(str(store.root)) in code[0].source


def test_wrong_names_are_refused(
    built_report: tuple[Store, str, ReportResult], tmp_path: Path
) -> None:
    store, sweep, _ = built_report
    with pytest.raises(UserError, match=r"must end in \.ipynb"):
        write_notebook(store, sweep, tmp_path / "mine.txt")
    with pytest.raises(UserError, match="there is no folder"):
        write_notebook(store, sweep, tmp_path / "a" / "mine.ipynb")
    with pytest.raises(UserError, match="has no sweep losses"):
        write_notebook(store, "losses", tmp_path / "mine.ipynb")
    path = tmp_path / "mine.ipynb"
    path.write_text("mine")
    with pytest.raises(UserError, match="exists and is not replaced"):
        write_notebook(store, sweep, path)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["mine"]
