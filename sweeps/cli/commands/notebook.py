"""`sweep.py notebook`: write the notebook of a sweep, or open it in Jupyter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeps.cli.commands.report import select_stored_plan
from sweeps.config.selection import SWEEP_HELP
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError

JUPYTER_PROGRAMS = ("jupyter-lab", "jupyter-notebook")
DESCRIPTION = """\
Without --to it is report.ipynb in the report's folder, and the report is built if the results have
changed; a notebook that was edited stays, and the new one is report.new.ipynb beside it. With
--to=FILE a fresh notebook is executed and written there, with the absolute path of the store, so
that the file can be moved; a file that exists is never replaced.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the file to write and the flags --open and --json."""
    parser.description = f"{parser.description}\n{DESCRIPTION}"
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument(
        "--to", metavar="FILE", help="write a fresh notebook to this new file (--to=FILE)"
    )
    parser.add_argument("--open", action="store_true", help="open it in JupyterLab, if installed")
    parser.add_argument("--json", action="store_true", help="print path and notes as JSON")


def run(arguments: Namespace) -> int:
    """Write a notebook and print its path; open it if that is asked for."""
    plan, store = select_stored_plan("notebook", arguments)
    if arguments.to is None:
        from analysis.report.build import build_report  # here: other commands need no report

        report = build_report(store, plan.sweep_id)
        path, notes = report.folder / "report.ipynb", report.notes
    else:
        from analysis.report.fresh_notebook import write_notebook

        path = Path(arguments.to)
        notes = list(write_notebook(store, plan.sweep_id, path))
    if arguments.json:
        print_json({"notebook": str(path), "notes": notes})
    else:
        for note in notes:
            print(f"note: {note}")
        print(f"notebook: {path}")
    return _open_notebook(path) if arguments.open else 0


def _open_notebook(path: Path) -> int:
    """Start Jupyter with a notebook, and return its exit status when it ends.

    Raises:
        UserError: Jupyter is not installed here.
    """
    folder = Path(sys.executable).parent
    programs = [shutil.which(name, path=folder) or shutil.which(name) for name in JUPYTER_PROGRAMS]
    program = next(filter(None, programs), None)
    if program is None:
        raise UserError(
            "--open needs JupyterLab: pip install jupyterlab, or open the file in an editor that "
            "shows notebooks"
        )
    return subprocess.call([program, str(path)])
