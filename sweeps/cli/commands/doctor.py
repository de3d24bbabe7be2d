"""`sweep.py doctor`: check for problems before a sweep is started."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from dataclasses import asdict

from rich.console import Console

from sweeps.config.selection import SWEEP_HELP, expand_names, require_no_cells
from sweeps.doctor.diagnostic import Diagnostic, Level, format_diagnostic
from sweeps.doctor.doctor import collect_diagnostics
from sweeps.monitor.terminal import make_console, print_json

EXIT_PROBLEMS = 1
LEVEL_STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
LEVEL_LABELS: dict[Level, str] = {"problem": "problems", "warning": "warnings", "ok": "ok"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json and --submit."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per check")
    parser.add_argument(
        "--submit", action="store_true", help="also submit a small job that checks a compute node"
    )


def run(arguments: Namespace) -> int:
    """Print one line per check, and return 1 if there is a problem."""
    diagnostics, console = [], make_console()
    words, stored_plan, cell_names = expand_names("doctor", arguments.names, arguments.overrides)
    require_no_cells("doctor", cell_names)
    for diagnostic in collect_diagnostics(
        words, submit_test_job=arguments.submit, stored_plan=stored_plan
    ):
        diagnostics.append(diagnostic)
        if not arguments.json:
            _print_diagnostic(console, diagnostic)
    if arguments.json:
        print_json([asdict(diagnostic) for diagnostic in diagnostics])
    else:
        counts = Counter(diagnostic.level for diagnostic in diagnostics)
        console.print(", ".join(f"{counts[lv]} {label}" for lv, label in LEVEL_LABELS.items()))
    has_problem = any(diagnostic.level == "problem" for diagnostic in diagnostics)
    return EXIT_PROBLEMS if has_problem else 0


def _print_diagnostic(console: Console, diagnostic: Diagnostic) -> None:
    console.print(f"[{LEVEL_STYLES[diagnostic.level]}]{diagnostic.level:<8}[/] ", end="")
    console.print(format_diagnostic(diagnostic), markup=False)
