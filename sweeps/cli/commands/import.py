"""`sweep.py import`: make a sweep of runs that exist already, and report it."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from sweeps.config.selection import open_store
from sweeps.merging.imported_runs import ImportedRun, guess_kind, read_runs
from sweeps.merging.imported_sweep import build_plan, write_sweep
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.store.score_kinds import SCORE_KINDS, ScoreKind


def add_arguments(parser: ArgumentParser) -> None:
    """Add the file or folder, and the flags that say what its scores are."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="file or folder",
        help="a CSV with the columns arm, seed and one or more scores, or a folder of open_clip's "
        "log folders, each called <arm>-<seed>",
    )
    parser.add_argument("--name", default="", help="name of the sweep; else that of the file")
    parser.add_argument("--reference", help="the arm that others are compared with; else the first")
    parser.add_argument(
        "--score",
        action="append",
        default=[],
        metavar="<score>[:<kind>]",
        help="a score to import, the first one is primary, and what it measures "
        f"({', '.join(SCORE_KINDS)}); else all, in a CSV as accuracies",
    )
    parser.add_argument("--json", action="store_true", help="print the sweep as JSON")


def run(arguments: Namespace) -> int:
    """Write the runs to store=, and say how they are reported."""
    for word in arguments.overrides:
        if not word.startswith("store="):
            raise UserError(f"import takes store= only: leave out {word}")
    if len(arguments.names) != 1:
        raise UserError("import takes one CSV file or one folder of open_clip's log folders")
    source = Path(arguments.names[0]).expanduser().absolute()
    runs = read_runs(source)
    kinds = _choose_scores(arguments.score, runs, is_table=source.is_file())
    name = arguments.name or re.sub(r"[^\w]+", "_", source.stem).strip("_").lower()
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise UserError(f"{name!r} is no name of a sweep: write --name=<letters, digits, _>")
    plan, runs_by_id = build_plan(name, runs, kinds, source, reference=arguments.reference)
    store = open_store(arguments.overrides)
    num_new = write_sweep(store, plan, runs_by_id, kinds)
    if arguments.json:
        print_json({"sweep": plan.sweep_id, "runs": [*runs_by_id], "new_runs": num_new})
        return 0
    print(f"{plan.sweep_id}: {len(plan.arms)} arms, {len(runs)} runs, {num_new} of them new")
    for note in plan.provenance_notes:
        print(f"note: {note}")
    print(f"tables and statistics: python sweep.py report {plan.sweep_id} store={store.root}")
    return 0


def _choose_scores(
    words: Sequence[str], runs: Sequence[ImportedRun], *, is_table: bool
) -> dict[str, ScoreKind]:
    """Return score -> what it measures: those of the words, or all that every run has."""
    names = [s for s in runs[0].scores if all(s in run.scores for run in runs)]
    if not words:
        return {name: "accuracy" if is_table else guess_kind(name) or "accuracy" for name in names}
    kinds: dict[str, ScoreKind] = {}
    for word in words:
        name, _, kind = word.partition(":")
        if name not in names:
            raise make_unknown_name_error("score", name, names)
        if kind and kind not in SCORE_KINDS:
            raise make_unknown_name_error("kind of a score", kind, SCORE_KINDS)
        kinds[name] = cast(ScoreKind, kind) if kind else guess_kind(name) or "accuracy"
    return kinds
