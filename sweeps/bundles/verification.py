"""Whether the records in a bundle fit together: what hashes of single files cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sweeps.bundles.contents import BUNDLE_FORMAT, DESCRIPTION_NAME, STORE_FOLDER
from uniclip.errors import UserError
from uniclip.identity import compute_run_id
from uniclip.io.hashing import digest_file, digest_text
from uniclip.store import Cell, DatasetScores, Plan, RunFolder, Store
from uniclip.store.json_io import read_record


@dataclass(frozen=True, kw_only=True)
class BundleDescription:
    """`bundle.json`: the sweep of a bundle."""

    format: int
    sweep: str
    cells: tuple[Cell, ...]
    """The cells whose runs are in the bundle."""


@dataclass(frozen=True)
class OpenBundle:
    """A bundle that is unpacked and of which every file has the hash of the manifest."""

    store: Store
    plan: Plan
    cells: tuple[Cell, ...]
    """The cells whose runs are in it."""


def open_bundle(folder: Path) -> OpenBundle:
    """Return the sweep in an unpacked bundle.

    Raises:
        UserError: a newer version wrote it, or it has no plan.
    """
    description = read_record(BundleDescription, folder / DESCRIPTION_NAME)
    if description is None:
        raise UserError(f"the bundle has no {DESCRIPTION_NAME}")
    if description.format > BUNDLE_FORMAT:
        raise UserError(
            f"the bundle has format {description.format}, and this version of uniclip reads "
            f"{BUNDLE_FORMAT}: install the version that wrote it, or a newer one"
        )
    store = Store(folder / STORE_FOLDER)
    plan_path = store.root / "sweeps" / description.sweep / "plan.json"
    if plan_path.resolve() != plan_path:
        raise UserError(f"{DESCRIPTION_NAME}: {description.sweep!r} is no id of a sweep")
    plan = store.get_sweep(description.sweep).read_plan()
    if plan is None or plan.sweep_id != description.sweep:
        raise UserError(f"the bundle has no plan of {description.sweep}")
    return OpenBundle(store, plan, description.cells)


def find_inconsistencies(bundle: OpenBundle) -> Iterator[str]:
    """Yield a line for each record of a bundle that does not fit the others."""
    planned_cells = set(bundle.plan.cells)
    for cell in bundle.cells:
        if cell not in planned_cells:
            yield f"{cell.name}: the plan has no such cell with run {cell.run_id}"
    for run in bundle.store.iter_runs():
        yield from run_checks(run.id, partial(check_run, run))
    for path in sorted((bundle.store.root / "environments").glob("*.json")):
        if digest_text(path.read_text(encoding="utf-8", errors="replace")) != path.stem:
            yield f"environments/{path.name}: its name is not the hash of its content"
    seeds = {cell.run_id: cell.seed for cell in bundle.cells}
    for run_id, seed in seeds.items():
        yield from run_checks(run_id, partial(_check_cell, bundle.store.get_run(run_id), seed))


def check_run(run: RunFolder) -> Iterator[str]:
    """Yield a line for each record of a run that does not fit the others."""
    if compute_run_id(run.read_spec()) != run.id:
        yield f"{run.id}: it is not the hash of its spec.json"
    outcome = run.read_outcome()
    if outcome is None:
        return
    weights_digest = outcome.weights_digest
    if run.weights_path.exists() and digest_file(run.weights_path) != weights_digest:
        yield f"{run.id}: its weights are not those of its outcome"
    # a write that was killed leaves a file of another suffix
    for path in sorted(path for path in run.list_score_paths() if path.suffix == ".json"):
        scores = read_record(DatasetScores, path)
        if scores is None or path != run.scores_path(scores.dataset, scores.evaluation_hash):
            yield f"{run.id}: {path.name} has scores of another evaluation"
        elif weights_digest is not None and scores.weights_digest != weights_digest:
            yield f"{run.id}: {path.name} has scores of other weights"


def run_checks(name: str, check: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Yield what a check yields; a file that cannot be read is a line too."""
    try:
        yield from check()
    except (UserError, FileNotFoundError, AttributeError, KeyError, TypeError) as error:
        yield f"{name}: {' '.join(str(error).split())[:300]}"


def _check_cell(run: RunFolder, seed: int) -> Iterator[str]:
    """Yield a line if the run of a cell has no outcome, or another seed."""
    if run.read_outcome() is None:
        yield f"{run.id}: it has no outcome"
    elif run.read_spec().get("config", {}).get("seed") != seed:
        yield f"{run.id}: its spec has another seed than its cell"
