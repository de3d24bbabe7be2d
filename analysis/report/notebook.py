"""The report as a notebook: it reads the tables beside it, and derives the headline again.

It is executed over a kernel of its own, through sockets in a folder of its own (the ports of two
kernels that start at once may clash; two folders cannot).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat

from analysis.figures.effects import ReportFigure
from analysis.results.results import Results
from analysis.tables.table import Table

CELL_TIMEOUT_SECONDS = 300
"""A cell that takes longer has gone wrong."""

MAX_TEMP_PATH_BYTES = 80
"""Bytes of a temporary folder in which the path of a socket stays below the 104 of every system."""

LOAD_SOURCE = """\
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from scipy import stats

frame = pd.read_csv("tables/frame.csv", dtype={"run": str})
frame.groupby("state").size().rename("rows").to_frame()"""

DERIVE_SOURCE = """\
# Each effect again, from one number a run: a weighted sum of arms, seed by seed.
weights = {weights}
primary = frame[(frame.dataset == {dataset!r}) & (frame.score == {score!r})]
by_seed = primary.pivot(index="seed", columns="arm", values="value")
rows = []
for name, arms in weights.items():
    values = by_seed[list(arms)].dropna() @ pd.Series(arms)
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n) if n > 2 else np.nan
    rows.append((name, n, values.mean(), values.mean() - half, values.mean() + half))
derived = pd.DataFrame(rows, columns=["contrast", "seeds", "effect", "low", "high"])
derived = derived.set_index("contrast")
derived"""

COMPARE_SOURCE = """\
# As in the table (an interval is wider there where the score's grain is coarser than its spread).
effects = pd.read_csv("tables/effects.csv").set_index("contrast")
table = effects.loc[derived.index, ["effect", "low", "high"]]
assert np.allclose(table["effect"].astype(float), derived["effect"], atol=1e-8, equal_nan=True)
table.join(derived.add_suffix(" derived"))"""


def build_notebook(
    results: Results,
    tables: Sequence[Table],
    figures: Sequence[ReportFigure],
    summary_sentences: Sequence[str],
) -> Any:
    """The notebook, not yet executed."""
    nbformat_v4 = nbformat.v4
    weights = {c.name: dict(c.weights) for c in results.plan.contrasts if c.primary}
    bullets = "\n".join(f"- {s}" for s in summary_sentences)
    dataset, score = results.primary_score
    cells = [
        nbformat_v4.new_markdown_cell(f"# {results.plan.title}\n\n{bullets}"),
        nbformat_v4.new_markdown_cell(
            "Everything below is read from the files beside this notebook; go on from here."
        ),
        nbformat_v4.new_code_cell(LOAD_SOURCE),
    ]
    if weights:
        derive_source = DERIVE_SOURCE.format(
            weights=_format_weights(weights), dataset=dataset, score=score
        )
        cells.append(nbformat_v4.new_markdown_cell("## The headline, derived again"))
        cells += [
            nbformat_v4.new_code_cell(derive_source),
            nbformat_v4.new_code_cell(COMPARE_SOURCE),
        ]
    for table in tables:
        cells.append(nbformat_v4.new_markdown_cell(f"## {table.title}"))
        display_source = (
            f'display(Markdown(Path("tables/{table.name}.md").read_text(encoding="utf-8")))'
        )
        cells.append(nbformat_v4.new_code_cell(display_source))
    for figure in figures:
        text = figure.caption if figure.skip_reason is None else f"No figure: {figure.skip_reason}."
        cells.append(nbformat_v4.new_markdown_cell(f"## {figure.title}\n\n{text}"))
        if figure.skip_reason is None:
            cells.append(
                nbformat_v4.new_code_cell(f'Image("figures/{figure.name}.png", width=900)')
            )
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # nbformat draws them at random
    kernel_metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    return nbformat_v4.new_notebook(cells=cells, metadata=kernel_metadata)


def execute(notebook: Any, folder: Path) -> None:
    """Run the notebook's cells in `folder`, in place; raises what a cell raised.

    In a thread: nbclient would replace the caller's handlers of Ctrl-C and SIGTERM.
    """
    fits_socket_limit = len(os.fsencode(tempfile.gettempdir())) <= MAX_TEMP_PATH_BYTES
    kernel_folder = Path(tempfile.mkdtemp(prefix="nb-", dir=None if fits_socket_limit else "/tmp"))
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_run_kernel_client, notebook, folder, kernel_folder).result()
    finally:
        shutil.rmtree(kernel_folder, ignore_errors=True)


def _run_kernel_client(notebook: Any, folder: Path, kernel_folder: Path) -> None:
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    manager = AsyncKernelManager(kernel_name="python3", transport="ipc")
    manager.ip = str(kernel_folder / "s")
    manager.connection_file = str(kernel_folder / "kernel.json")
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_TIMEOUT_SECONDS,
        record_timing=False,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(folder)}},
    )
    kernel_env = {"IPYTHONDIR": str(kernel_folder / "ipython"), "MPLBACKEND": "agg"}
    client.execute(cleanup_kc=True, env=os.environ | kernel_env)


def save(notebook: Any, path: Path) -> None:
    """Write the notebook; `nbformat` checks it."""
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _format_weights(weights: dict[str, dict[str, float]]) -> str:
    lines = [f"    {name!r}: {arms!r}," for name, arms in weights.items()]
    return "\n".join(["{", *lines, "}"])
