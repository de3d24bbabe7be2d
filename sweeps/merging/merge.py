"""Merging stores: what both have is compared, what one lacks is copied, contradictions are refused.

Nothing is written before everything is compared. Each step can be repeated: a merge that was killed
is completed by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from sweeps.bundles.comparison import Agreement, RunComparison, compare_runs
from sweeps.bundles.verification import check_run, run_checks
from sweeps.claims.status import inspect_run
from sweeps.merging import copying
from sweeps.merging.foreign_plans import require_plain_round, strip_execution
from sweeps.merging.plans import unite_plans
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, read_jsonl
from uniclip.store import Plan, RunFolder, RunStatus, Store, TuningRound
from uniclip.store.json_io import decode_record
from uniclip.store.origin_records import RunOrigin

BUSY_STATUSES = (RunStatus.RUNNING, RunStatus.STALLED, RunStatus.UNREADABLE)


@dataclass(frozen=True)
class MergeSource:
    """A store that is merged into another."""

    name: str
    """Its name in `origins.csv`."""
    store: Store


@dataclass
class MergeSummary:
    """What a merge does."""

    new_runs: dict[str, MergeSource] = field(default_factory=dict)
    """Run id -> the source that it is copied from."""
    shared_runs: list[tuple[str, MergeSource, RunComparison]] = field(default_factory=list)
    """Runs that the store, or an earlier source, has too."""
    plans: dict[str, Plan] = field(default_factory=dict)
    """Sweep id -> the united plan."""
    removed_keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Sweep id -> what its plan from elsewhere set and is not taken, as it chooses code."""
    origins: list[RunOrigin] = field(default_factory=list)
    """What the sources record of the origins of their runs."""
    contradictions: list[str] = field(default_factory=list)
    """A line each; if there are any, nothing is written."""
    busy_runs: list[str] = field(default_factory=list)
    """Runs that are executed in the store, which are not replaced."""


def prepare_merge(target: Store, sources: Sequence[MergeSource]) -> MergeSummary:
    """Compare everything and return what `apply_merge` will do; nothing is written.

    Raises:
        UserError: a file is damaged.
    """
    summary = MergeSummary()
    for source in sources:
        summary.origins += _read_origins(source)
        for run in source.store.iter_runs():
            if run.has_spec() and run.read_outcome() is not None:
                _prepare_run(summary, target, source, run)
        for plan in _iterate_plans(source.store):
            try:
                _prepare_plan(summary, target, plan)
                for path in copying.list_tuning_rounds(source.store, plan):
                    require_plain_round(decode_record(TuningRound, path.read_bytes(), path))
            except UserError as error:
                summary.contradictions.append(f"{source.name}: {error}")
    return summary


def apply_merge(target: Store, sources: Sequence[MergeSource], summary: MergeSummary) -> None:
    """Write what was prepared, plans last.

    Raises:
        UserError: the sources contradict each other or the store.
    """
    if summary.contradictions:
        raise UserError(f"nothing was merged: {summary.contradictions[0]}")
    target.require_writable()
    target.write_format_version()
    with target.create_scratch_folder() as scratch:
        for run_id, source in summary.new_runs.items():
            _copy_run(summary, target, source, run_id, scratch)
    for run_id, source, comparison in summary.shared_runs:
        if comparison.agreement is Agreement.IDENTICAL:
            copying.copy_scores(source.store.get_run(run_id), target.get_run(run_id))
    _record_origins(target, summary)
    for source in sources:
        copying.copy_environments(source.store, target)
        for plan in _iterate_plans(source.store):
            folders = (s.get_sweep(plan.sweep_id) for s in (source.store, target))
            copying.copy_sweep_records(*folders)
            copying.copy_tuning_rounds(source.store, target, plan)
    for plan in summary.plans.values():
        target.get_sweep(plan.sweep_id).write_plan(plan)


def join_sweeps(store: Store, sweep_ids: Sequence[str]) -> Plan:
    """Write the plan of a sweep with the arms, seeds and data sets of several, and return it.

    Raises:
        UserError: one is missing, or they contradict each other.
    """
    plans = [_read_plan(store, sweep_id) for sweep_id in sweep_ids]
    for sweep_id, plan in zip(sweep_ids, plans):
        if plan is None:
            raise UserError(f"join={sweep_id}: store={store.root} has no such sweep")
    known_plans = [plan for plan in plans if plan is not None]
    if len(known_plans) < 2:
        raise UserError("join takes the ids of two sweeps or more, such as join=[first,second]")
    united = known_plans[0]
    for plan in known_plans[1:]:
        united = unite_plans(united, plan)
    store.get_sweep(united.sweep_id).write_plan(united)
    return united


def name_source(path: Path) -> str:
    """Return the name of a store or bundle in `origins.csv`: of its folder or file."""
    resolved = path.resolve()
    name = resolved.parent.name if resolved.name == "store" else resolved.name
    return name.removesuffix(".tar") or "store"


def _prepare_run(summary: MergeSummary, target: Store, source: MergeSource, run: RunFolder) -> None:
    for line in run_checks(run.id, partial(check_run, run)):
        summary.contradictions.append(f"{source.name}: {line}")
    stored = target.get_run(run.id)
    if run.id in summary.new_runs:
        stored = summary.new_runs[run.id].store.get_run(run.id)
    elif not stored.has_spec() or stored.read_outcome() is None:
        summary.new_runs[run.id] = source
        return
    comparison = compare_runs(stored, run)
    summary.shared_runs.append((run.id, source, comparison))
    if comparison.agreement is Agreement.CONTRADICTION:
        summary.contradictions.append(
            f"{source.name}: run {run.id}: {comparison.reason}, although numerics class and "
            "training code are equal"
        )


def _prepare_plan(summary: MergeSummary, target: Store, plan: Plan) -> None:
    """Unite a plan with that of the store; it chooses no code that the store's own does not."""
    own_plan = _read_plan(target, plan.sweep_id)
    stripped_plan, removed_keys = strip_execution(plan, own_plan)
    stored = summary.plans.get(plan.sweep_id) or own_plan
    summary.plans[plan.sweep_id] = unite_plans(stored, stripped_plan) if stored else stripped_plan
    if removed_keys and own_plan is None:
        known_keys = summary.removed_keys.get(plan.sweep_id, ())
        summary.removed_keys[plan.sweep_id] = tuple(dict.fromkeys([*known_keys, *removed_keys]))


def _copy_run(
    summary: MergeSummary, target: Store, source: MergeSource, run_id: str, scratch: Path
) -> None:
    """Copy a run; an unfinished one of the store is moved aside unless it is being executed."""
    stored = target.get_run(run_id)
    if stored.path.exists():
        if stored.has_spec() and stored.read_outcome() is not None:
            return  # it was finished meanwhile
        if inspect_run(stored, {}).status in BUSY_STATUSES:
            summary.busy_runs.append(run_id)
            return
        target.supersede(stored)
    _record_origin(
        target, RunOrigin(run=run_id, origin=source.name, copied=True, agreement="")
    )  # before the copy: if this process is killed, the next merge takes the copy for known
    copying.copy_run(source.store.get_run(run_id), target, scratch)


def _read_origins(source: MergeSource) -> list[RunOrigin]:
    path = source.store.origins_path
    return [
        decode_record(RunOrigin, json.dumps(record).encode(), f"{source.name}: {path.name}")
        for record in read_jsonl(path)
    ]


def _record_origins(target: Store, summary: MergeSummary) -> None:
    """Append where the runs of both come from, and what the sources record of their own."""
    for run_id, source, comparison in summary.shared_runs:
        origin = RunOrigin(
            run=run_id,
            origin=source.name,
            copied=False,
            agreement=str(comparison.agreement),
            largest_difference=comparison.largest_difference,
        )
        _record_origin(target, origin)
    for origin in summary.origins:
        if target.get_run(origin.run).has_spec():
            _record_origin(target, origin)


def _record_origin(target: Store, origin: RunOrigin) -> None:
    """Append an origin, unless the store records one of that run and name."""
    recorded = {(r.get("run"), r.get("origin")) for r in read_jsonl(target.origins_path)}
    if (origin.run, origin.origin) not in recorded:
        append_jsonl(target.origins_path, asdict(origin))


def _iterate_plans(store: Store) -> Iterator[Plan]:
    """Yield the plans of a store, those of tuning rounds left out."""
    for folder in store.iter_sweeps():
        plan = folder.read_plan()
        if plan is not None and plan.sweep_id == folder.id:
            yield plan


def _read_plan(store: Store, sweep_id: str) -> Plan | None:
    return store.get_sweep(sweep_id).read_plan()
