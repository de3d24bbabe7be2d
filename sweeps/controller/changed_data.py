"""Data that change under a sweep: its cells refuse them, and its controller ends.

A cell opens its data only if their fingerprint is the planned one (`uniclip.run`), and trains on
shards only if they hold what the finished runs of the sweep recorded; its attempt else ends as
failed because of changed data. No other cell of the sweep can do better, so the controller
starts none, lets those that run end, and says what has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sweeps.claims.status import RunState
from sweeps.launchers.worker import add_contents
from uniclip import data
from uniclip.checkpoints import weight_files
from uniclip.commands.definition import EXECUTOR as COMMAND_EXECUTOR
from uniclip.commands.invocation import read_invocation
from uniclip.commands.provenance import require_fingerprint
from uniclip.config import DataConfig
from uniclip.errors import UserError
from uniclip.identity import config_from_spec
from uniclip.store import Plan, RunStatus, Store

TRAINING_EXECUTOR = Plan.__dataclass_fields__["executor"].default
"""The executor whose specs hold a fingerprint of data."""


@dataclass(kw_only=True)
class ChangedDataGuard:
    """Watches the states of runs for attempts that refused their data."""

    store: Store
    _seen_attempts: dict[str, int] | None = field(default=None, init=False)
    """Run -> the newest attempt when the controller began."""

    def find_change(self, plan: Plan, states: Mapping[str, RunState]) -> str | None:
        """Return one line if a run refused its data since the first call, and they are still so.

        Args:
            plan: the plan that is run.
            states: run id -> state.
        """
        if self._seen_attempts is None:
            self._seen_attempts = {run: state.attempt for run, state in states.items()}
        has_refused = any(
            state.is_data_changed and state.attempt > self._seen_attempts.get(run, 0)
            for run, state in states.items()
        )
        change = describe_changed_data(self.store, plan) if has_refused else None
        if change is None:
            return None
        num_finished = sum(state.outcome is not None for state in states.values())
        return f"{change} ({num_finished} of {len(states)} runs had ended before)"

    def is_on_hold(self, plan: Plan, states: Mapping[str, RunState]) -> bool:
        """Return whether no run may be started since the data have changed.

        Raises:
            UserError: they have, and no run is being executed.
        """
        change = self.find_change(plan, states)
        if change is not None and not any(s.status == RunStatus.RUNNING for s in states.values()):
            raise UserError(change)
        return change is not None


def describe_changed_data(store: Store, plan: Plan) -> str | None:
    """Return one line if the data of a plan, or its checkpoint, are not those of its specs.

    Of a command these are the files, packages and data that it declares.
    """
    if plan.executor == COMMAND_EXECUTOR:
        return _describe_changed_files(store, plan)
    if plan.executor != TRAINING_EXECUTOR:
        return None
    runs_by_arm = {cell.arm: store.get_run(cell.run_id) for cell in plan.cells}
    data_configs: set[DataConfig] = set()
    for arm, run in runs_by_arm.items():
        if not run.has_spec():
            continue
        spec = run.read_spec()
        config = config_from_spec(spec, plan.run_only_values(arm))
        change = data.describe_change(
            config.data, weight_files.select_data_fingerprint(spec["data"])
        )
        if change is not None:
            return change
        try:
            weight_files.check_unchanged(config, spec["data"])
        except UserError as error:
            return str(error)
        data_configs.add(config.data)
    return _describe_changed_contents(store, plan, data_configs)


def _describe_changed_contents(
    store: Store, plan: Plan, data_configs: Collection[DataConfig]
) -> str | None:
    """Return one line if data of equal fingerprint are not those that finished runs had."""
    known: dict[str, set[str]] = {}
    for run_id in {cell.run_id for cell in plan.cells}:
        with suppress(UserError, PermissionError):  # a damaged file says nothing
            outcome = store.get_run(run_id).read_outcome()
            if outcome is not None:
                add_contents(known, outcome)
    for config in data_configs if known else ():
        content = data.identify_content(config, builds_index=False)
        change = data.describe_content_change(config, content, known)
        if change is not None:
            return change
    return None


def _describe_changed_files(store: Store, plan: Plan) -> str | None:
    """Return one line if files, packages or data of a command are not those of the specs."""
    runs_by_arm = {cell.arm: store.get_run(cell.run_id) for cell in plan.cells}
    for arm, run in runs_by_arm.items():
        if run.has_spec():
            spec = run.read_spec()
            invocation = read_invocation(spec, plan.run_only_values(arm))
            try:
                require_fingerprint(spec["data"], invocation.collect_fingerprint())
            except UserError as error:
                return str(error)
    return None
