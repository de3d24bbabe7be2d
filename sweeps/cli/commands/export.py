"""`sweep.py export`: write a sweep for other tools, such as TensorBoard or MLflow."""

from __future__ import annotations

import shlex
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from ablations.plan.plan import find_cell
from analysis.exports.source import SweepSource
from analysis.exports.targets import TARGETS, get_target, load_exporter
from sweeps.config.selection import CELL_HELP, SWEEP_HELP, SelectedPlan, print_notes, select_plan
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError

DESCRIPTION = """\
An export may be made again at any time, also while cells run: what is there is left as it is, what
is missing is added, what has changed is replaced, and nothing is doubled.
"""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the target, the sweep, the cells, and the flags --to and --json."""
    parser.description = f"{parser.description}\n{DESCRIPTION}"
    parser.add_argument(
        "names",
        nargs="*",
        metavar="target, sweep or cell",
        help=f"first {' | '.join(TARGETS)}; then {SWEEP_HELP}; then cells, default all: "
        f"{CELL_HELP}",
    )
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        help="the folder to write to (--to=FOLDER); default: exports/<sweep>/<target> in the "
        "store. For mlflow it may be the URL of a server",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON record per cell or file"
    )
    width = max(map(len, TARGETS))
    parser.epilog = "targets:\n" + "\n".join(
        f"  {name:<{width}}  {target.description}" for name, target in TARGETS.items()
    )


def run(arguments: Namespace) -> int:
    """Export a sweep and print what was written, and how it is opened."""
    if not arguments.names:
        raise UserError(f"export takes a target: {', '.join(TARGETS)}")
    target_name, *names = arguments.names
    target = get_target(target_name)
    if arguments.to and "://" in arguments.to and not target.takes_url:
        raise UserError(f"export {target_name} writes to a folder, not to {_redact(arguments.to)}")
    selection = select_plan("export", names, arguments.overrides)
    export = load_exporter(target_name)
    folder = selection.store.export_path(selection.plan.sweep_id, target_name)
    destination = arguments.to or str(folder)
    is_url = "://" in destination
    destination = destination if is_url else str(Path(destination).expanduser())
    print_notes(selection.notes)
    changes = list(
        export(
            _make_source(selection),
            destination if target.takes_url else Path(destination),
        )
    )
    shown_destination = _redact(destination) if is_url else destination
    if arguments.json:
        print_json([{"name": n, "change": c, "to": shown_destination} for n, c in changes])
        return 0
    counts = Counter(change for _, change in changes)
    summary = ", ".join(f"{counts[name]} {name}" for name in ("new", "changed", "unchanged"))
    print(f"{target_name}: {summary} in {shown_destination}")
    if target.hint and not is_url:
        folder_word = shlex.quote(destination)
        hint = target.hint.format(folder=folder_word, sweep=selection.plan.sweep_id)
        print(f"open it: {hint}")
    return 0


def _make_source(selection: SelectedPlan) -> SweepSource:
    """Return the cells that the command line names, or all of the sweep.

    Raises:
        UserError: the sweep was never run, or has no such cell.
    """
    plan, store = selection.plan, selection.store
    if store.get_sweep(plan.sweep_id).read_plan() is None:
        raise UserError(f"sweep {plan.sweep_id} has not been run in store={store.root}")
    cells = tuple(find_cell(plan, name) for name in selection.cell_names)
    return SweepSource(store=store, plan=plan, cells=cells or plan.cells)


def _redact(url: str) -> str:
    """Return a URL without user name and password, and without its query."""
    parts = urlsplit(url)
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
