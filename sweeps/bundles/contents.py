"""Which files of a store stand in the bundle of a sweep, and the page that explains them.

A bundle holds what a report reads: plan, audit and costs of the sweep, and of every finished run
its spec, claims, metrics, outcome, scores and predictions; also the report, the environments of the
attempts, and the weights on request. `store/` in a bundle is a store of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from analysis.report.build import iterate_store_inputs
from sweeps.bundles.manifest import is_safe_name
from uniclip.io.atomic import read_jsonl
from uniclip.store import Plan, RunFolder, Store, format_version
from uniclip.store.json_io import to_json_bytes

STORE_FOLDER = "store"
README_NAME = "README.txt"
DESCRIPTION_NAME = "bundle.json"
BUNDLE_FORMAT = 1
README = """\
This is the evidence of one sweep of uniclip.

MANIFEST.sha256  the hash of every file: sha256sum --check MANIFEST.sha256
bundle.json      the sweep, and its cells with their run ids
store/           a store with the sweep: plain JSON, JSON lines, NumPy archives (no pickles) and
                 the report; start at store/reports/<sweep>/report.html

store/runs/<run id>/spec.json     configuration and data; the run id is the hash of it
store/runs/<run id>/outcome.json  how training ended, the hash of the weights, the numerics class
store/runs/<run id>/scores/       scores of each data set; predictions/ holds them by sample
store/runs/<run id>/attempts/     who executed it: claims, metrics, events
store/environments/               packages, commit and changes of the code, machine and driver

With uniclip: python sweep.py verify <this bundle> --rerun=2 (trains two cells anew), and
python sweep.py merge <this bundle> store=<your store>.
"""


@dataclass(frozen=True)
class BundleContents:
    """The files of a bundle."""

    paths: dict[str, Path] = field(default_factory=dict)
    """Path in the bundle -> the file that is copied."""
    generated: dict[str, bytes] = field(default_factory=dict)
    """Path in the bundle -> content of a file that only the bundle has."""
    finished_cells: int = 0
    """Cells of the sweep whose runs are in it."""
    skipped: tuple[str, ...] = ()
    """Files of the report that are left out because of their names."""


def collect_contents(store: Store, plan: Plan, *, with_weights: bool) -> BundleContents:
    """Return the files of the bundle of a sweep, of which the report was built."""
    planned_runs = [store.get_run(run_id) for run_id in _list_run_ids(store, plan)]
    finished_runs = {
        run.id: run for run in planned_runs if run.is_readable() and run.read_outcome() is not None
    }
    candidates = dict.fromkeys(_iterate_candidates(store, plan, finished_runs, with_weights))
    unfinished_folders = {run.path for run in planned_runs if run.id not in finished_runs}
    paths, skipped = {}, []
    for path in candidates:
        if path == store.origins_path:
            continue
        if unfinished_folders.intersection(path.parents) or not _is_regular(path):
            continue
        name = f"{STORE_FOLDER}/{path.relative_to(store.root).as_posix()}"
        if is_safe_name(name):
            paths[name] = path
        else:
            skipped.append(name)
    cells = [cell for cell in plan.cells if cell.run_id in finished_runs]
    description = {"format": BUNDLE_FORMAT, "sweep": plan.sweep_id, "cells": cells}
    generated = {
        README_NAME: README.encode(),
        DESCRIPTION_NAME: to_json_bytes(description),
        f"{STORE_FOLDER}/{format_version.FILE_NAME}": format_version.describe().encode(),
        **_select_origins(store, finished_runs),
    }
    paths = {name: path for name, path in sorted(paths.items()) if name not in generated}
    return BundleContents(paths, generated, len(cells), tuple(skipped))


def _list_run_ids(store: Store, plan: Plan) -> list[str]:
    """Return the runs of a sweep and, if it was tuned, of the sweep with default values."""
    default_plan = (
        store.get_sweep(plan.tuning.default_sweep).read_plan() if plan.tuning is not None else None
    )
    default_runs = default_plan.required_evaluations() if default_plan is not None else ()
    return list(dict.fromkeys([*plan.required_evaluations(), *default_runs]))


def _select_origins(store: Store, runs: Mapping[str, RunFolder]) -> dict[str, bytes]:
    """Return the file of the origins of these runs alone; none without any."""
    records = [record for record in read_jsonl(store.origins_path) if record.get("run") in runs]
    name = f"{STORE_FOLDER}/{store.origins_path.relative_to(store.root).as_posix()}"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    return {name: lines.encode()} if records else {}


def _iterate_candidates(
    store: Store, plan: Plan, runs: dict[str, RunFolder], with_weights: bool
) -> Iterator[Path]:
    for path in iterate_store_inputs(store, plan):
        if path.is_relative_to(store.root):
            yield path
    folder = store.get_sweep(plan.sweep_id)
    yield from (folder.cost_report_path, folder.cell_prices_path)
    for run in runs.values():
        yield run.config_path
        if with_weights:
            yield from (run.weights_path, run.best_weights_path, run.tokenizer_path)
        for number in run.list_attempts():
            attempt = run.get_attempt(number)
            claim = attempt.read_claim()
            yield from (attempt.end_path, attempt.heartbeat_path, attempt.events_path)
            if claim is not None and claim.environment:
                yield store.environment_path(claim.environment)
    for parent, subfolders, names in os.walk(store.report_path(plan.sweep_id)):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def _is_regular(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
