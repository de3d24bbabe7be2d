"""A notebook on a sweep outside its report."""

from __future__ import annotations

from pathlib import Path

from analysis.figures.matplotlib_setup import import_matplotlib
from analysis.report.notebook import NotebookRunner, format_notebook
from analysis.report.notebook_cells import build_plan_cells
from uniclip.errors import UserError
from uniclip.io.atomic import write_once
from uniclip.store import Store


def write_notebook(store: Store, sweep_id: str, path: Path) -> list[str]:
    """Execute a new notebook and write it to a file; it names the store by its absolute path.

    Args:
        store: the store.
        sweep_id: id of a sweep in it.
        path: the file, which must not exist.

    Returns:
        A sentence on why the notebook was not executed to the end; none if it was.

    Raises:
        UserError: the file exists, or its name or folder is not suitable; there is no such sweep,
            or the libraries that write notebooks are not installed.
    """
    if path.suffix != ".ipynb":
        raise UserError(f"{path} is no name of a notebook: it must end in .ipynb")
    if path.exists():
        raise UserError(f"{path} exists and is not replaced: choose another file")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}")
    plan = store.get_sweep(sweep_id).read_plan()
    if plan is None:
        raise UserError(f"{store.root} has no sweep {sweep_id}; `list` shows what there is")
    import_matplotlib()
    with NotebookRunner(path.parent) as runner:
        runner.add(build_plan_cells(plan, str(store.root)))
        executed = runner.finish()
    if executed.notebook is None:
        raise UserError(f"no notebook can be written: {executed.failure}")
    if not write_once(path, format_notebook(executed.notebook).encode()):
        raise UserError(f"{path} exists and is not replaced: choose another file")
    return [f"it has cells without results: {executed.failure}"] if executed.failure else []
