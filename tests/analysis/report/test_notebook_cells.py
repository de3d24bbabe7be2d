"""The notebook is a client of the store: executed anew, with other parameters, on every design."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import pytest
from nbclient import NotebookClient

import analysis
from analysis.report.build import ReportResult
from analysis.report.notebook_cells import PARAMETERS_TAG, build_cells, build_plan_cells
from tests.helpers import ROOT, fake_sweep
from tests.helpers.analyzed_sweeps import analyze_listed_sweep
from tests.helpers.fake_sweep import Truth
from tests.helpers.fake_tuned_sweep import make_tuned_sweep
from uniclip.store import Store

EXPORT_SOURCE = (
    "analysis.tabulate_effects(results).to_parquet('effects.parquet')\n"
    "derived.to_parquet('derived.parquet')"
)
"""Cell that a researcher adds, to compare what the notebook computed."""
soak_only = pytest.mark.skipif(not os.environ.get("UNICLIP_SOAK"), reason="run by make soak")
EXACT_COLUMNS = ["effect", "ci_low", "ci_high", "p", "p_adjusted"]


@pytest.fixture(autouse=True)
def use_this_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels import the packages of this checkout."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def make_notebook(title: str, sweep: str, **parameters: object) -> nbformat.NotebookNode:
    """Return the notebook of a sweep with values set in its cell of parameters."""
    notebook = nbformat.v4.new_notebook()
    for cell in build_cells(title, sweep, is_tuned="tuned" in sweep):
        new_cell = getattr(nbformat.v4, f"new_{cell.kind}_cell")(cell.source)
        if PARAMETERS_TAG in cell.tags:
            new_cell.source += "".join(f"\n{k} = {v!r}" for k, v in parameters.items())
        notebook.cells.append(new_cell)
    notebook.cells.append(nbformat.v4.new_code_cell(EXPORT_SOURCE))
    return notebook


def assert_clean(notebook: Any) -> None:
    """Check that no cell wrote an error or a warning."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert len(outputs) > 20
    problems = [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert problems == []


def make_crossed(root: Path) -> tuple[Store, str]:
    return fake_sweep.make(root, Truth(missing=(("clip", 2),)))


def make_listed(root: Path) -> tuple[Store, str]:
    results = analyze_listed_sweep(root, Truth())
    return Store(root), results.plan.sweep_id


def make_tuned(root: Path) -> tuple[Store, str]:
    store, plan = make_tuned_sweep(root)
    return store, plan.sweep_id


def read_effects(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the effects that a notebook computed, and those that it derived by hand."""
    return pd.read_parquet(folder / "effects.parquet"), pd.read_parquet(folder / "derived.parquet")


def assert_equal_effects(folder: Path, expected: pd.DataFrame) -> None:
    """Check what a notebook computed in a folder."""
    computed, derived = read_effects(folder)
    pd.testing.assert_frame_equal(computed[EXACT_COLUMNS], expected[EXACT_COLUMNS])
    by_table = expected.loc[derived.index]
    assert derived["ci_low"].to_numpy() == pytest.approx(by_table["ci_low"].to_numpy(), abs=0.01)
    if (by_table["family"] == "primary").all():
        adjusted = by_table["p_adjusted"].to_numpy(float)
        assert derived["p_holm"].to_numpy() == pytest.approx(adjusted, nan_ok=True)


@pytest.mark.soak
@soak_only
@pytest.mark.parametrize("make", [make_crossed, make_listed, make_tuned])
def test_every_design_is_executed_by_a_fresh_kernel(
    make: Callable[[Path], tuple[Store, str]], tmp_path: Path
) -> None:
    """With another level than the report's; the store is named by its path."""
    store, sweep = make(tmp_path / "store")
    notebook = make_notebook("t", sweep, STORE=str(store.root), ALPHA=0.1)
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert_clean(notebook)
    results = analysis.analyze_sweep(store.root, sweep, alpha=0.1)
    assert_equal_effects(tmp_path, analysis.tabulate_effects(results))


def test_the_cells_of_every_design_compute_the_effects_of_the_tables(tmp_path: Path) -> None:
    """As programs in one process, without a kernel: only their code matters here."""
    stores = {m.__name__: m(tmp_path / m.__name__) for m in (make_crossed, make_listed, make_tuned)}
    cells = tuple((a.name, 0) for a in fake_sweep.arms())
    stores["empty"] = fake_sweep.make(tmp_path / "empty", Truth(seeds=(0,), missing=cells))
    program = ["import os"]
    for name, (store, sweep) in stores.items():
        notebook = make_notebook("t", sweep, STORE=str(store.root), ALPHA=0.1)
        sources = [c.source for c in notebook.cells if c.cell_type == "code"]
        code = "\n".join(sources).replace("%matplotlib inline", "display = print")
        (tmp_path / f"{name}.py").write_text(code)
        program.append(f"os.chdir({str(tmp_path / name)!r})")
        program.append(f"exec(open({str(tmp_path / f'{name}.py')!r}).read(), {{}})")
    subprocess.run([sys.executable, "-c", "\n".join(program)], check=True)
    for name, (store, sweep) in stores.items():
        if name != "empty":
            results = analysis.analyze_sweep(store.root, sweep, alpha=0.1)
            assert_equal_effects(tmp_path / name, analysis.tabulate_effects(results))


def test_only_sweeps_with_interactions_have_a_section_of_them(tmp_path: Path) -> None:
    for make, is_there in ((make_crossed, True), (make_listed, False), (make_tuned, True)):
        store, sweep = make(tmp_path / make.__name__)
        plan = store.get_sweep(sweep).read_plan()
        assert plan is not None
        text = "\n".join(cell.source for cell in build_plan_cells(plan))
        assert ("## Interactions" in text, "draw_interactions" in text) == (is_there, is_there)
        assert ("## Tuning" in text) == (plan.tuning is not None)


def test_papermill_changes_the_score(
    built_report: tuple[Store, str, ReportResult], tmp_path: Path
) -> None:
    """The report's own file, from another folder: its effects equal those of the table."""
    store, sweep, report = built_report
    source = nbformat.read(report.folder / "report.ipynb", as_version=4)
    source.cells.append(nbformat.v4.new_code_cell(EXPORT_SOURCE))
    nbformat.write(source, tmp_path / "mine.ipynb")
    executed = papermill.execute_notebook(
        tmp_path / "mine.ipynb",
        tmp_path / "executed.ipynb",
        parameters={"STORE": str(store.root), "SCORE": "probe.category"},
        cwd=tmp_path,
        progress_bar=False,
    )
    assert_clean(executed)
    computed = pd.read_parquet(tmp_path / "effects.parquet").reset_index()
    assert set(computed["score"]) == {"probe.category"}
    written = pd.read_csv(report.folder / "tables" / "other_effects.csv")
    written = written[written["score"] == "probe.category"].reset_index(drop=True)
    columns = ["contrast", "dataset", "effect", "ci_low", "ci_high", "p"]
    pd.testing.assert_frame_equal(computed[columns], written[columns], rtol=1e-9)
    assert "chosen after the runs" in str(executed.cells)


def test_the_parameters_are_tagged_and_are_all_that_names_the_sweep() -> None:
    cells = build_cells("A title", "components-quick-1a2b3c4d", "/a/store")
    (parameters,) = [c for c in cells if PARAMETERS_TAG in c.tags]
    names = [t.id for node in ast.parse(parameters.source).body for t in node.targets]
    assert names == ["STORE", "SWEEP", "SCORE", "ALPHA"]
    others = [c.source for c in cells if c is not parameters]
    assert not any("components-quick" in s or "/a/store" in s for s in others)
