"""What differs between two sweeps: settings, configuration, arms, data, and primary scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from uniclip.config.compose import flatten
from uniclip.store import Arm, Plan, Score, Store

ABSENT = "-"
PLAN_FIELDS = ("ablation", "budget", "data", "design", "recipe", "seeds", "reference")
"""Fields of plans that are compared."""

Row = tuple[str, str, str]
"""What is compared, and its value in each of the two sweeps."""


@dataclass(frozen=True, kw_only=True)
class DiffSection:
    """One part of a comparison."""

    title: str
    rows: tuple[Row, ...]
    """Only what differs; of scores, every arm."""
    note: str = ""
    """What is said if there is no row."""


def compare_sweeps(stores: Sequence[Store], plans: Sequence[Plan]) -> Iterator[DiffSection]:
    """Yield the sections of the comparison of two sweeps.

    Args:
        stores: The store of each.
        plans: The plan of each.
    """
    first, second = plans
    yield DiffSection(
        title="settings",
        rows=tuple(_compare(*(_read_settings(plan) for plan in plans))),
        note="the same",
    )
    yield DiffSection(
        title="configuration",
        rows=tuple(_compare(flatten(first.base_config), flatten(second.base_config))),
        note="the same",
    )
    yield DiffSection(title="arms", rows=tuple(_compare_arms(first, second)), note="the same")
    yield _compare_data(stores, plans)
    yield _compare_scores(stores, plans)


def _read_settings(plan: Plan) -> dict[str, Any]:
    settings = {name: getattr(plan, name) for name in PLAN_FIELDS}
    metric = plan.primary_metric
    tuned_in = plan.tuning.space if plan.tuning else None
    datasets = {name for hashes in plan.evaluation_hashes.values() for name in hashes}
    return {
        **{k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()},
        "primary score": f"{metric.metric} of {metric.dataset}",
        "co-primary score": plan.co_primary_metric and plan.co_primary_metric.metric,
        "tuned in space": tuned_in,
        "benchmark data sets": sorted(datasets),
    }


def _compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Row]:
    for key in dict.fromkeys([*first, *second]):
        values = first.get(key, ABSENT), second.get(key, ABSENT)
        if values[0] != values[1]:
            yield key, format_plain(values[0]), format_plain(values[1])


def format_plain(value: Any) -> str:
    """Return a value of a configuration as a user types it."""
    if value is None:
        return "null"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_plain, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare_arms(first: Plan, second: Plan) -> Iterator[Row]:
    arms = [{arm.name: arm for arm in plan.arms} for plan in (first, second)]
    for name in dict.fromkeys([*arms[0], *arms[1]]):
        if name not in arms[0] or name not in arms[1]:
            present = [_describe_arm(by_name.get(name)) for by_name in arms]
            yield name, present[0], present[1]
            continue
        diffs = [by_name[name].config_diff for by_name in arms]
        for key, *values in _compare(diffs[0], diffs[1]):
            yield f"{name}: {key}", values[0], values[1]


def _describe_arm(arm: Arm | None) -> str:
    return ABSENT if arm is None else arm.label or arm.name


def _compare_data(stores: Sequence[Store], plans: Sequence[Plan]) -> DiffSection:
    """Compare what the specs of the first runs say of the data."""
    fingerprints = [_read_fingerprint(store, plan) for store, plan in zip(stores, plans)]
    if None in fingerprints:
        unknown_ids = [p.sweep_id for p, f in zip(plans, fingerprints) if f is None]
        return DiffSection(
            title="data", rows=(), note=f"not known: no run of {', '.join(unknown_ids)} has a spec"
        )
    first, second = (flatten(fingerprint or {}) for fingerprint in fingerprints)
    return DiffSection(title="data", rows=tuple(_compare(first, second)), note="the same content")


def _read_fingerprint(store: Store, plan: Plan) -> dict[str, Any] | None:
    for cell in plan.cells:
        run = store.get_run(cell.run_id)
        if run.has_spec():
            fingerprint: dict[str, Any] = run.read_spec()["data"]
            return fingerprint
    return None


def _compare_scores(stores: Sequence[Store], plans: Sequence[Plan]) -> DiffSection:
    """Compare the means of the primary score over the seeds of each arm."""
    metrics = [plan.primary_metric for plan in plans]
    title = f"primary score, {metrics[0].metric} of {metrics[0].dataset}"
    if metrics[0] != metrics[1]:
        return DiffSection(title=title, rows=(), note="the primary scores are not the same")
    scores = [_read_primary_scores(store, plan) for store, plan in zip(stores, plans)]
    if not scores[0] or not scores[1]:
        empty_ids = [plan.sweep_id for plan, by_arm in zip(plans, scores) if not by_arm]
        return DiffSection(title=title, rows=(), note=f"{' and '.join(empty_ids)}: no score yet")
    rows = tuple(
        (arm, *(_format_mean(by_arm.get(arm, ())) for by_arm in scores))
        for arm in dict.fromkeys([*scores[0], *scores[1]])
    )
    title = f"{title}: mean over seeds (number of seeds)"
    return DiffSection(title=title, rows=tuple((a, b, c) for a, b, c in rows))


def _read_primary_scores(store: Store, plan: Plan) -> dict[str, list[Score]]:
    """Return arm -> its primary score of each seed that has one."""
    metric = plan.primary_metric
    scores: dict[str, list[Score]] = {}
    for cell in plan.cells:
        evaluation_hash = plan.evaluation_hashes.get(cell.arm, {}).get(metric.dataset)
        if evaluation_hash is None:
            continue
        record = store.get_run(cell.run_id).read_scores(metric.dataset, evaluation_hash)
        for score in record.scores if record else ():
            if score.name == metric.metric:
                scores.setdefault(cell.arm, []).append(score)
    return scores


def _format_mean(scores: Sequence[Score]) -> str:
    """Return the mean of scores with the digits that its standard error supports."""
    from analysis.formatting import make_number_format  # here: it imports numpy

    if not scores:
        return ABSENT
    values = [score.value for score in scores]
    standard_error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    number_format = make_number_format(scores[0].kind, standard_error)
    return f"{number_format.format_with_unit(mean(values))} ({len(values)})"
