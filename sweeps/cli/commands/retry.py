"""`sweep.py retry`: run failed cells again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeps.cli.commands.run import run_and_report
from sweeps.config.selection import CELL_HELP, SWEEP_HELP, select_request
from sweeps.controller.retry import build_retry


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the cells and the flag --force."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="sweep or cell",
        help=f"{SWEEP_HELP}; or {CELL_HELP}; default: every failed cell",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="also cells that are stalled or seem to run, if you know that their process is dead",
    )


def run(arguments: Namespace) -> int:
    """Run the named cells again, then build the report."""
    request, cell_names = select_request("retry", arguments.names, arguments.overrides)
    return run_and_report(build_retry(request, cell_names, force=arguments.force))
