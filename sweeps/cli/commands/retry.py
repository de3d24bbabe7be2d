"""`sweep.py retry`: run failed cells again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeps.cli.commands.run import JSON_HELP, run_and_report
from sweeps.config.selection import CELL_HELP, SWEEP_HELP, select_request
from sweeps.controller.retry import build_retry
from sweeps.monitor.terminal import divert_text


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the cells, and the flags --force and --json."""
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
    parser.add_argument("--json", action="store_true", help=JSON_HELP)


def run(arguments: Namespace) -> int:
    """Run the named cells again, then build the report; without names, an adaptive sweep goes on
    to its later rounds."""
    request, cell_names = select_request("retry", arguments.names, arguments.overrides)
    with divert_text(is_diverted=arguments.json):
        result = run_and_report(build_retry(request, cell_names, force=arguments.force), request)
    return result.finish(as_json=arguments.json)
