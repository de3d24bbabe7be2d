"""The report as an executed notebook: it reads the tables next to it and recomputes the effects.

The notebook is executed in the background while the report is built. Its kernel communicates
through sockets in a folder of its own: ports of two kernels that start at once may clash.
Importing this module is cheap, so that the kernel starts before the other libraries are imported.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from uniclip.store import Contrast

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from analysis.figures.build import ReportFigure
    from analysis.results.results import ScoreKey
    from analysis.tables.table import Table

CELL_TIMEOUT_SECONDS = 300
"""Longest time that a cell may take."""

MAX_TEMP_PATH_BYTES = 80
"""Longest path of a temporary folder for which a socket path stays below the limit of all systems,
104 bytes."""

LOAD_SOURCE = """\
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from scipy import stats

frame = pd.read_csv("tables/frame.csv", dtype={"run": str})
frame.groupby("status").size().rename("rows").to_frame()"""

DERIVE_SOURCE = """\
# Each primary effect again, from one number per run: a weighted sum of arms, paired by seed.
weights = {weights}
primary = frame[(frame.dataset == {dataset!r}) & (frame.score == {score!r})]
by_seed = primary.pivot(index="seed", columns="arm", values="value")
rows = []
for name, arms in weights.items():
    values = by_seed[list(arms)].dropna() @ pd.Series(arms)
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 2 else np.nan
    rows.append((name, n, values.mean(), values.mean() - half, values.mean() + half))
derived = pd.DataFrame(rows, columns=["contrast", "num_seeds", "effect", "ci_low", "ci_high"])
derived = derived.set_index("contrast")
derived"""

COMPARE_SOURCE = """\
# Compared with the table (its interval is wider if the score's resolution exceeds its spread).
effects = pd.read_csv("tables/effects.csv").set_index("contrast")
table = effects.loc[derived.index, ["effect", "ci_low", "ci_high"]]
assert np.allclose(table["effect"].astype(float), derived["effect"], atol=1e-8, equal_nan=True)
table.join(derived.add_suffix(" derived"))"""

KERNEL_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
}


class NotebookRunner:
    """A notebook whose cells are executed in the background, in the order in which they are added.

    Use it as a context manager: the kernel starts on entry, and is shut down on exit. It runs in a
    thread because nbclient would replace the signal handlers of the main thread.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare a notebook that is executed in `folder`."""
        self._folder = folder
        self._cells: queue.SimpleQueue[NotebookNode | None] = queue.SimpleQueue()
        self._executor = ThreadPoolExecutor(1)
        self._finished: Future[NotebookNode] | None = None

    def __enter__(self) -> NotebookRunner:
        # before the thread starts: matplotlib fails if it meets an IPython that is being imported
        for name in ("IPython", "nbclient", "nbformat"):
            import_module(name)
        self._finished = self._executor.submit(self._run)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cells.put(None)
        self._executor.shutdown()

    def add(self, cells: Sequence[NotebookNode]) -> None:
        """Append cells to the notebook, to be executed after the earlier ones."""
        for cell in cells:
            self._cells.put(cell)

    def finish(self) -> NotebookNode:
        """Wait for the last cell and return the executed notebook; raise what a cell raised."""
        assert self._finished is not None
        self._cells.put(None)
        return self._finished.result()

    def _run(self) -> NotebookNode:
        """Start a kernel, execute the cells and return the notebook; in the background thread."""
        fits_socket_limit = len(os.fsencode(tempfile.gettempdir())) <= MAX_TEMP_PATH_BYTES
        kernel_folder = Path(
            tempfile.mkdtemp(prefix="nb-", dir=None if fits_socket_limit else "/tmp")
        )
        try:
            return asyncio.run(self._execute_cells(kernel_folder))
        finally:
            shutil.rmtree(kernel_folder, ignore_errors=True)

    async def _execute_cells(self, kernel_folder: Path) -> NotebookNode:
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        notebook: NotebookNode = _import_nbformat().v4.new_notebook(metadata=KERNEL_METADATA)

        manager = AsyncKernelManager(kernel_name="python3", transport="ipc")
        manager.ip = str(kernel_folder / "s")
        manager.connection_file = str(kernel_folder / "kernel.json")
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_TIMEOUT_SECONDS,
            record_timing=False,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(self._folder)}},
        )
        kernel_env = {"IPYTHONDIR": str(kernel_folder / "ipython"), "MPLBACKEND": "agg"}
        async with client.async_setup_kernel(cleanup_kc=True, env=os.environ | kernel_env):
            while (cell := await asyncio.to_thread(self._cells.get)) is not None:
                index = len(notebook.cells)
                cell["id"] = f"cell-{index}"  # the default is random
                notebook.cells.append(cell)
                await client.async_execute_cell(
                    cell, index, execution_count=client.code_cells_executed + 1
                )
        return notebook


def build_table_cells(
    title: str,
    summary_sentences: Sequence[str],
    primary_contrasts: Sequence[Contrast],
    primary_score: ScoreKey,
    tables: Sequence[Table],
) -> list[NotebookNode]:
    """Return the cells of summary, recomputed primary effects and tables.

    Args:
        title: title of the sweep.
        summary_sentences: sentences of the summary.
        primary_contrasts: contrasts to compute again.
        primary_score: (data set, score) that they are computed on.
        tables: tables, already written to `tables/`.
    """
    bullets = "\n".join(f"- {s}" for s in summary_sentences)
    cells = [
        _text_cell(f"# {title}\n\n{bullets}"),
        _text_cell("Everything below is read from the files next to this notebook."),
        _code_cell(LOAD_SOURCE),
    ]
    if primary_contrasts:
        weights = {c.name: dict(c.weights) for c in primary_contrasts}
        dataset, score = primary_score
        derive_source = DERIVE_SOURCE.format(
            weights=_format_weights(weights), dataset=dataset, score=score
        )
        cells += [
            _text_cell("## The primary effects, computed again"),
            _code_cell(derive_source),
            _code_cell(COMPARE_SOURCE),
        ]
    return [*cells, *(cell for table in tables for cell in _build_table_cells(table))]


def build_figure_cells(figures: Sequence[ReportFigure]) -> list[NotebookNode]:
    """Return the cells of the figures, already drawn in `figures/`."""
    cells = []
    for figure in figures:
        text = figure.caption if figure.skip_reason is None else f"No figure: {figure.skip_reason}."
        cells.append(_text_cell(f"## {figure.title}\n\n{text}"))
        if figure.skip_reason is None:
            cells.append(_code_cell(f'Image("figures/{figure.name}.png", width=900)'))
    return cells


def save_notebook(notebook: NotebookNode, path: Path) -> None:
    """Validate and write a notebook."""
    nbformat = _import_nbformat()
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _build_table_cells(table: Table) -> Iterator[NotebookNode]:
    yield _text_cell(f"## {table.title}")
    yield _code_cell(
        f'display(Markdown(Path("tables/{table.name}.md").read_text(encoding="utf-8")))'
    )


def _text_cell(text: str) -> NotebookNode:
    cell: NotebookNode = _import_nbformat().v4.new_markdown_cell(text)
    return cell


def _code_cell(source: str) -> NotebookNode:
    cell: NotebookNode = _import_nbformat().v4.new_code_cell(source)
    return cell


def _import_nbformat() -> Any:
    """Return the module nbformat, which has no type annotations; importing it takes a while."""
    import nbformat

    return nbformat


def _format_weights(weights: Mapping[str, Mapping[str, float]]) -> str:
    lines = [f"    {name!r}: {arms!r}," for name, arms in weights.items()]
    return "\n".join(["{", *lines, "}"])
