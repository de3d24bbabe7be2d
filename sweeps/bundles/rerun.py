"""Training cells of a bundle anew, and comparing the results with those in the bundle.

A bundle is data: no plug-in that it names is imported unless the user who verifies it names it
too, and TorchScript archives stay closed. Files of training data and weights are read at the paths
that the plan states, unless the user names others; nothing in them is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

from sweeps.bundles.comparison import Agreement, RunComparison, compare_runs
from sweeps.bundles.verification import OpenBundle
from sweeps.claims.claim import claim_run
from sweeps.claims.status import RunState
from sweeps.config import sweep_keys
from sweeps.launchers.attempt_execution import StopFlag, execute_attempt
from sweeps.launchers.cell_executor import load_executor
from uniclip.config import plugins, select_run_only
from uniclip.config.override_keys import KEY_ALIASES
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.store import Arm, Cell, RetryPolicy, RunFolder, RunStatus, Store

EXECUTOR = "uniclip.cell"
EXECUTION_SECTIONS = ("runtime", "benchmark", "allow_torchscript")
"""Sections that state how a run is executed; a plan has them in its base configuration only."""
DEFAULT_TOLERANCE = 0.05
"""Largest difference of a score that passes in another numerics class: 5 percentage points."""


@dataclass(frozen=True)
class RerunResult:
    """A cell that was trained anew."""

    cell: Cell
    comparison: RunComparison
    passed: bool


def select_cells(bundle: OpenBundle, count: int, seed: int) -> list[Cell]:
    """Return `count` cells of a bundle, drawn by `seed`; all of them if it has fewer."""

    def draw(cell: Cell) -> str:
        return sha256(f"{seed}/{cell.run_id}".encode()).hexdigest()

    cells = {cell.run_id: cell for cell in bundle.cells}  # one of the cells that share a run
    return sorted(cells.values(), key=draw)[:count]


def rerun_cells(
    bundle: OpenBundle,
    cells: Sequence[Cell],
    overrides: Sequence[str],
    store: Store,
    tolerance: float,
) -> Iterator[RerunResult]:
    """Yield the comparison of each cell as it has been trained and evaluated.

    Args:
        bundle: the bundle.
        cells: its cells that are trained.
        overrides: `key=value` words: where data lie here, the device, plug-ins.
        store: a new store for the runs.
        tolerance: largest difference of a score that passes where bits cannot be compared.

    Raises:
        UserError: the plan needs what the words do not name, or a run fails.
    """
    values = _parse_values(bundle, overrides)
    for cell in cells:
        arm = bundle.plan.get_arm(cell.arm)
        _require_plain_arm(arm)
        run_only = select_run_only(bundle.plan.base_config, {**arm.config_diff, **values})
        run_only = _restrict_to_named(run_only, values)
        published_run = bundle.store.get_run(cell.run_id)
        run = _execute(store, published_run, run_only, _list_evaluations(bundle, cell))
        comparison = compare_runs(published_run, run)
        passed = comparison.agreement is Agreement.IDENTICAL or (
            comparison.agreement is Agreement.OTHER_CLASS
            and comparison.largest_difference <= tolerance
        )
        yield RerunResult(cell, comparison, passed)


def _parse_values(bundle: OpenBundle, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the run-only values of a command line; the plan's plug-ins must be among them."""
    if bundle.plan.executor != EXECUTOR:
        raise UserError(f"the cells are executed by {bundle.plan.executor}: --rerun cannot do it")
    values = parse_overrides(overrides, sweep_keys.collect_value_forms())
    values = {KEY_ALIASES.get(key, key): value for key, value in values.items()}
    for key in values:
        if not sweep_keys.is_run_only(key):
            raise UserError(f"{key}= would make another run: verify takes runtime.* and paths")
    names = _list_plugins(values)
    if missing := sorted(set(bundle.plan.plugins) - set(names)):
        raise UserError(
            f"the cells need the plug-ins {', '.join(missing)}, which run code: read them, then "
            f"add plugins=[{','.join(bundle.plan.plugins)}]"
        )
    plugins.import_plugins(names)
    return values


def _require_plain_arm(arm: Arm) -> None:
    """Refuse an arm that sets how its runs are executed: no plan of ours has one."""
    for key in arm.config_diff:
        if key.partition(".")[0] in EXECUTION_SECTIONS:
            raise UserError(
                f"arm {arm.name} of the bundle sets {key}, which states how runs are executed: "
                "--rerun takes that from the command line only"
            )


def _restrict_to_named(run_only: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return run-only values with the plug-ins that the user names, and no others.

    TorchScript archives contain code: only the user who verifies may allow them.
    """
    runtime = {**run_only.get("runtime", {}), "plugins": _list_plugins(values)}
    is_allowed = values.get("allow_torchscript", False)
    return {**run_only, "runtime": runtime, "allow_torchscript": is_allowed}


def _list_plugins(values: Mapping[str, Any]) -> list[str]:
    names = values.get("runtime.plugins", [])
    return [names] if isinstance(names, str) else list(names)


def _list_evaluations(bundle: OpenBundle, cell: Cell) -> dict[str, str]:
    """Return the evaluations of which the bundle has scores."""
    run = bundle.store.get_run(cell.run_id)
    evaluations = bundle.plan.required_evaluations()[cell.run_id]
    return {name: h for name, h in evaluations.items() if run.has_scores({name: h})}


def _execute(
    store: Store,
    published_run: RunFolder,
    run_only: Mapping[str, Any],
    evaluations: Mapping[str, str],
) -> RunFolder:
    """Train and evaluate a run in `store`, and return its folder."""
    executor, stop = load_executor(EXECUTOR), StopFlag()
    run, spec = store.get_run(published_run.id), published_run.read_spec()
    run.write_spec(spec)
    attempt = claim_run(
        store,
        run,
        RunState(status=RunStatus.PENDING),
        partial(executor.resolve_numerics_class, run, run_only),
        policy=RetryPolicy(),
        prepare_run=partial(RunFolder.write_spec, spec=spec),
    )
    assert attempt is not None, "the store is new"
    execute = partial(executor.execute, run, run_only, attempt, evaluations, stop)
    exit_kind = execute_attempt(run, attempt, execute, stop)
    if exit_kind not in ("trained", "diverged"):
        end = attempt.read_end()
        message = end.error if end is not None and end.error else exit_kind
        raise UserError(f"run {run.id} could not be trained anew: {message}")
    return run
