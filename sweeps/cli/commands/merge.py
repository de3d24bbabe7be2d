"""`sweep.py merge`: join the runs and sweeps of other stores or bundles into a store."""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sweeps.bundles.comparison import Agreement
from sweeps.bundles.manifest import MANIFEST_NAME
from sweeps.bundles.reader import check_bundle
from sweeps.bundles.verification import open_bundle
from sweeps.config.selection import open_store
from sweeps.merging.merge import (
    MergeSource,
    MergeSummary,
    apply_merge,
    join_sweeps,
    name_source,
    prepare_merge,
)
from sweeps.monitor.terminal import divert_text, print_json
from uniclip.config.overrides import LIST, parse_overrides
from uniclip.errors import UserError
from uniclip.store import Store

EXIT_CONTRADICTION = 1
MAX_LISTED_RUNS = 20


def add_arguments(parser: ArgumentParser) -> None:
    """Add the stores and bundles, and the flags --dry-run and --json."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="store or bundle",
        help="folder of a store, or a bundle; store=<folder> is what they are merged into, and "
        "join=[<sweep id>,<sweep id>] also makes one sweep of the arms of several",
    )
    parser.add_argument("--dry-run", action="store_true", help="compare only; write nothing")
    parser.add_argument("--json", action="store_true", help="print the results as JSON at the end")


def run(arguments: Namespace) -> int:
    """Merge stores and bundles into store=; return 1, and write nothing, if they contradict."""
    join_words = [word for word in arguments.overrides if word.startswith("join=")]
    target = open_store(arguments.overrides)
    unknown_words = [w for w in arguments.overrides if not w.startswith(("store=", "join="))]
    if unknown_words:
        raise UserError(f"merge takes store= and join=: leave out {unknown_words[0]}")
    if not arguments.names and not join_words:
        raise UserError("merge takes the folder of a store, or a bundle")
    with divert_text(is_diverted=arguments.json):
        summary = _merge(target, arguments.names, is_dry_run=arguments.dry_run)
        is_written = not (summary.contradictions or arguments.dry_run)
        sweep_ids = [*summary.plans] if is_written else []
        if is_written and join_words:
            joined_ids = parse_overrides(join_words, {"join": LIST})["join"]
            sweep_ids.append(join_sweeps(target, [str(name) for name in joined_ids]).sweep_id)
        for sweep_id in sweep_ids:
            print(f"tables of both: python sweep.py report {sweep_id} store={target.root}")
    if arguments.json:
        print_json({**_make_record(summary), "is_written": is_written, "sweeps": sweep_ids})
    return EXIT_CONTRADICTION if summary.contradictions else 0


def _merge(target: Store, names: Sequence[str], *, is_dry_run: bool) -> MergeSummary:
    """Merge the named stores and bundles unless they contradict, and print what was done."""
    with tempfile.TemporaryDirectory(prefix="uniclip-merge-") as scratch:
        sources = _open_sources(names, target, Path(scratch))
        summary = prepare_merge(target, sources)
        if sources:
            _print_summary(summary)
        if sources and not (summary.contradictions or is_dry_run):
            apply_merge(target, sources, summary)
            for run_id in summary.busy_runs:
                print(f"note: run {run_id} is being executed here: merge again when it has ended")
    return summary


def _make_record(summary: MergeSummary) -> dict[str, object]:
    """Return what a merge does as a JSON record."""
    return {
        "new_runs": [*summary.new_runs],
        "shared_runs": [
            {"run": run_id, "source": source.name, **asdict(comparison)}
            for run_id, source, comparison in summary.shared_runs
        ],
        "busy_runs": summary.busy_runs,
        "contradictions": summary.contradictions,
    }


def _open_sources(names: Sequence[str], target: Store, scratch: Path) -> list[MergeSource]:
    """Return the named stores; bundles are checked and unpacked."""
    sources: list[MergeSource] = []
    for number, name in enumerate(names):
        path = Path(name).expanduser()
        if path.is_file() or (path / MANIFEST_NAME).is_file():
            folder = scratch / str(number)
            check_bundle(path, unpack_to=folder).require_intact(path)
            store = open_bundle(folder).store
        elif (path / "runs").is_dir():
            store = Store(path)
        else:
            raise UserError(f"{name} is neither a store nor a bundle")
        if store.root == target.root:
            raise UserError(f"{name} is the store that it would be merged into: choose another")
        label = name_source(path)
        if label in {source.name for source in sources}:
            label = f"{label}-{number + 1}"
        sources.append(MergeSource(label, store))
    return sources


def _print_summary(summary: MergeSummary) -> None:
    """Print what is new, which runs are shared and whether they agree, and contradictions."""
    counts = {agreement: 0 for agreement in Agreement}
    for _, _, comparison in summary.shared_runs:
        counts[comparison.agreement] += 1
    cells = {c.run_id: c.name for plan in summary.plans.values() for c in plan.cells}
    print(
        f"{len(summary.new_runs)} runs are new, {len(summary.shared_runs)} are in both: "
        + ", ".join(f"{count} {agreement}" for agreement, count in counts.items())
    )
    for run_id, source, comparison in summary.shared_runs[:MAX_LISTED_RUNS]:
        details = f" ({comparison.reason})" if comparison.reason else ""
        print(
            f"both: {cells.get(run_id, run_id)} of {source.name}: {comparison.agreement}{details}"
        )
    if len(summary.shared_runs) > MAX_LISTED_RUNS:
        print(f"... and {len(summary.shared_runs) - MAX_LISTED_RUNS} more")
    for sweep_id, keys in summary.removed_keys.items():
        print(
            f"note: {sweep_id}: {', '.join(keys)} choose code or commands and are not taken from "
            "its plan: if you trust them, write them when you run or read the sweep"
        )
    for line in summary.contradictions:
        print(f"contradiction: {line}")
    if summary.contradictions:
        print("nothing was merged")
