"""`sweep.py bundle`: pack the evidence of a sweep into one file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeps.bundles.writer import write_bundle
from sweeps.cli.commands.report import select_stored_plan
from sweeps.config.selection import SWEEP_HELP
from sweeps.monitor.terminal import print_json
from uniclip.config.overrides import TEXT, parse_overrides


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --weights and --json."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--weights", action="store_true", help="pack the trained weights too")
    parser.add_argument("--json", action="store_true", help="print path and digest as JSON")


def run(arguments: Namespace) -> int:
    """Build the report of a sweep, and write its bundle to to=<file> (<sweep id>.tar)."""
    from analysis.report.build import build_report  # here: it imports what other commands do not

    target_words = [word for word in arguments.overrides if word.startswith("to=")]
    arguments.overrides = [word for word in arguments.overrides if word not in target_words]
    plan, store = select_stored_plan("bundle", arguments)
    values = parse_overrides(target_words, {"to": TEXT})
    target = Path(str(values.get("to", f"{plan.sweep_id}.tar"))).expanduser()
    build_report(store, plan.sweep_id)
    written = write_bundle(store, plan, target, with_weights=arguments.weights)
    if arguments.json:
        record = {
            "sweep": plan.sweep_id,
            "bundle": str(written.path),
            "digest": written.digest,
            "cells": len(plan.cells),
            "finished_cells": written.contents.finished_cells,
            "files": written.num_files,
            "bytes": written.num_bytes,
            "skipped": [str(name) for name in written.contents.skipped],
        }
        print_json(record)
        return 0
    for name in written.contents.skipped:
        print(f"note: {name} is left out: a bundle has no files of such names")
    print(
        f"bundle: {written.path} ({written.contents.finished_cells} of {len(plan.cells)} cells, "
        f"{written.num_files} files, {written.num_bytes / 1e6:.1f} MB)"
    )
    print(f"sha256 of its manifest: {written.digest}")
    return 0
