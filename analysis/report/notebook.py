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

from analysis.figures.effects import Drawn
from analysis.results.results import Findings
from analysis.tables.table import Table

SECONDS = 300
"""A cell that takes longer has gone wrong."""

LONGEST = 80
"""Bytes of a temporary folder in which the path of a socket stays below the 104 of every system."""

LOAD = """\
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from scipy import stats

frame = pd.read_csv("tables/frame.csv", dtype={"run": str})
frame.groupby("state").size().rename("rows").to_frame()"""

DERIVE = """\
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

COMPARE = """\
# As in the table (an interval is wider there where the score's grain is coarser than its spread).
effects = pd.read_csv("tables/effects.csv").set_index("contrast")
table = effects.loc[derived.index, ["effect", "low", "high"]]
assert np.allclose(table["effect"].astype(float), derived["effect"], atol=1e-8, equal_nan=True)
table.join(derived.add_suffix(" derived"))"""


def write(
    findings: Findings, tables: Sequence[Table], figures: Sequence[Drawn], said: Sequence[str]
) -> Any:
    """The notebook, not yet executed."""
    new = nbformat.v4
    weights = {c.name: dict(c.weights) for c in findings.plan.contrasts if c.primary}
    bullets = "\n".join(f"- {s}" for s in said)
    dataset, score = findings.primary
    cells = [
        new.new_markdown_cell(f"# {findings.plan.title}\n\n{bullets}"),
        new.new_markdown_cell(
            "Everything below is read from the files beside this notebook; go on from here."
        ),
        new.new_code_cell(LOAD),
    ]
    if weights:
        told = DERIVE.format(weights=_spread_out(weights), dataset=dataset, score=score)
        cells.append(new.new_markdown_cell("## The headline, derived again"))
        cells += [new.new_code_cell(told), new.new_code_cell(COMPARE)]
    for table in tables:
        cells.append(new.new_markdown_cell(f"## {table.title}"))
        read = f'display(Markdown(Path("tables/{table.name}.md").read_text(encoding="utf-8")))'
        cells.append(new.new_code_cell(read))
    for figure in figures:
        text = figure.caption if figure.skipped is None else f"No figure: {figure.skipped}."
        cells.append(new.new_markdown_cell(f"## {figure.title}\n\n{text}"))
        if figure.skipped is None:
            cells.append(new.new_code_cell(f'Image("figures/{figure.name}.png", width=900)'))
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # nbformat draws them at random
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return new.new_notebook(cells=cells, metadata=kernel)


def execute(notebook: Any, folder: Path) -> None:
    """Run the notebook's cells in `folder`, in place; raises what a cell raised.

    In a thread: nbclient would replace the caller's handlers of Ctrl-C and SIGTERM.
    """
    fits = len(os.fsencode(tempfile.gettempdir())) <= LONGEST
    private = Path(tempfile.mkdtemp(prefix="nb-", dir=None if fits else "/tmp"))
    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_execute, notebook, folder, private).result()
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _execute(notebook: Any, folder: Path, private: Path) -> None:
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    manager = AsyncKernelManager(kernel_name="python3", transport="ipc")
    manager.ip = str(private / "s")
    manager.connection_file = str(private / "kernel.json")
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=SECONDS,
        record_timing=False,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(folder)}},
    )
    at_home = {"IPYTHONDIR": str(private / "ipython"), "MPLBACKEND": "agg"}
    client.execute(cleanup_kc=True, env=os.environ | at_home)


def save(notebook: Any, path: Path) -> None:
    """Write the notebook; `nbformat` checks it."""
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def _spread_out(weights: dict[str, dict[str, float]]) -> str:
    lines = [f"    {name!r}: {arms!r}," for name, arms in weights.items()]
    return "\n".join(["{", *lines, "}"])
