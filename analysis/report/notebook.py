"""Execution of a notebook while its report is built.

Its cells (`notebook_cells`) are executed in the background, by a kernel of this interpreter: kernel
specs, startup files and settings of the user's are not used (`kernel`). A notebook that cannot be
executed is saved as it is, with the reason.
"""

from __future__ import annotations

import asyncio
import atexit
import queue
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from analysis.report import kernel
from analysis.report.notebook_cells import NotebookCell

if TYPE_CHECKING:
    from nbformat import NotebookNode

ANSI_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
CELL_TIMEOUT_SECONDS = 300
"""Longest time that a cell may take."""
NOTEBOOK_METADATA = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
}


@dataclass(frozen=True)
class ExecutedNotebook:
    """A notebook, executed as far as possible."""

    notebook: NotebookNode | None
    """None if the libraries that write it are not installed."""
    failure: str = ""
    """Why it was not executed to the end, in one line; empty if it was."""


class NotebookRunner:
    """A notebook whose cells are executed in the background, in the order in which they are added.

    Use it as a context manager: the kernel starts on entry, and is shut down on exit. It runs in a
    thread because nbclient would replace the signal handlers of the main thread.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare a notebook that is executed in `folder`."""
        self._folder = folder
        self._cells: queue.SimpleQueue[NotebookCell | None] = queue.SimpleQueue()
        self._executor = ThreadPoolExecutor(1)
        self._finished: Future[ExecutedNotebook] | None = None

    def __enter__(self) -> NotebookRunner:
        # before the thread starts: matplotlib fails if it meets an IPython that is being imported
        import_failure = ""
        for name in ("IPython", "nbformat", "nbclient", "ipykernel"):
            try:
                import_module(name)
            except Exception as error:  # noqa: BLE001  whatever a broken installation raises
                import_failure = import_failure or f"{name} cannot be imported ({_describe(error)})"
        self._finished = self._executor.submit(self._run, import_failure)
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cells.put(None)
        self._executor.shutdown()

    def add(self, cells: Sequence[NotebookCell]) -> None:
        """Append cells to the notebook, to be executed after the earlier ones."""
        for cell in cells:
            self._cells.put(cell)

    def finish(self) -> ExecutedNotebook:
        """Wait for the last cell and return the notebook."""
        assert self._finished is not None
        self._cells.put(None)
        return self._finished.result()

    def _run(self, failure: str) -> ExecutedNotebook:
        """Execute the cells, and append those that cannot be; in the background thread."""
        try:
            notebook: NotebookNode = _import_nbformat().v4.new_notebook(metadata=NOTEBOOK_METADATA)
        except Exception:  # noqa: BLE001  whatever a broken installation raises
            return ExecutedNotebook(None, failure)
        is_finished = False
        if not failure:
            kernel_folder = kernel.make_private_folder()
            try:
                asyncio.run(self._execute_cells(notebook, kernel_folder))
                is_finished = True
            except Exception as error:  # noqa: BLE001  the report must not depend on the kernel
                failure = _describe(error, kernel.read_last_line(kernel_folder))
            finally:
                shutil.rmtree(kernel_folder, ignore_errors=True)
        while not is_finished and (cell := self._cells.get()) is not None:
            _append_cell(notebook, cell)
        return ExecutedNotebook(notebook, failure)

    async def _execute_cells(self, notebook: NotebookNode, kernel_folder: Path) -> None:
        from nbclient import NotebookClient

        client = NotebookClient(
            notebook,
            km=kernel.make_kernel_manager(kernel_folder),
            timeout=CELL_TIMEOUT_SECONDS,
            record_timing=False,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(self._folder)}},
        )
        try:
            with open(kernel.get_log_path(kernel_folder), "wb") as log:
                async with client.async_setup_kernel(
                    cleanup_kc=True,
                    env=kernel.build_environment(kernel_folder),
                    stdout=log,
                    stderr=log,
                ):
                    while (cell := await asyncio.to_thread(self._cells.get)) is not None:
                        index = len(notebook.cells)
                        await client.async_execute_cell(
                            _append_cell(notebook, cell),
                            index,
                            execution_count=client.code_cells_executed + 1,
                        )
        finally:
            # a client whose kernel did not start would print a traceback at the end of the process
            atexit.unregister(client._cleanup_kernel)


def _append_cell(notebook: NotebookNode, cell: NotebookCell) -> NotebookNode:
    new_cell = getattr(_import_nbformat().v4, f"new_{cell.kind}_cell")
    node: NotebookNode = new_cell(cell.source)
    node["id"] = f"cell-{len(notebook.cells)}"  # the default is random
    if cell.tags:
        node["metadata"]["tags"] = list(cell.tags)
    notebook.cells.append(node)
    return node


def _describe(error: Exception, kernel_output: str = "") -> str:
    """Return an error in one line; the error of a cell is the last line of its traceback."""
    lines = [line.strip() for line in ANSI_ESCAPE.sub("", str(error)).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return f"{text} (kernel: {kernel_output})" if kernel_output else text


def describe_failure(executed: ExecutedNotebook) -> list[str]:
    """Return a sentence on why the notebook was not executed to the end; none if it was."""
    if not executed.failure:
        return []
    what = "is not written" if executed.notebook is None else "has cells without results"
    return [
        f"The notebook report.ipynb {what}: {executed.failure}. Tables, figures and page are "
        "complete; the next `report` tries again."
    ]


def format_notebook(notebook: NotebookNode) -> str:
    """Validate a notebook, and return the text of its file."""
    nbformat = _import_nbformat()
    nbformat.validate(notebook)
    return f"{nbformat.writes(notebook)}\n"


def _import_nbformat() -> Any:
    """Return the module nbformat, which has no type annotations; importing it takes a while."""
    import nbformat

    return nbformat
