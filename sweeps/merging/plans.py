"""The union of two plans: seeds, arms and data sets of both in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ablations.plan.predictions import compute_predictions_digest
from sweeps.config import sweep_keys
from uniclip.config.compose import flatten
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import Arm, Component, Contrast, Plan

Named = TypeVar("Named", Arm, Component, Contrast)

COMPARED_FIELDS = (
    *("ablation", "budget", "data", "design", "reference", "recipe", "executor", "first_seed"),
    *("primary_metric", "co_primary_metric", "looks", "margins", "planted_effects"),
    "predictions",
)
"""Fields of a plan that must be equal: what is compared, and the rules of verdicts."""


def unite_plans(first: Plan, second: Plan) -> Plan:
    """Return the plan with the seeds, arms and evaluations of both.

    What only says how runs are executed is of `first`. Plans of different arms make a sweep of
    another id, which does not depend on the order of the plans' ids.

    Raises:
        UserError: the plans contradict each other; one line.
    """
    problems = list(find_contradictions(first, second))
    if problems:
        raise UserError(f"{first.sweep_id} and {second.sweep_id}: {problems[0]}")
    arms = _unite_named(first.arms, second.arms)
    arm_order = {arm.name: i for i, arm in enumerate(arms)}
    cells = {(c.arm, c.seed): c for c in (*second.cells, *first.cells)}.values()
    evaluations = {
        arm.name: {
            **second.evaluation_hashes.get(arm.name, {}),
            **first.evaluation_hashes.get(arm.name, {}),
        }
        for arm in arms
    }
    present = {name for hashes in evaluations.values() for name in hashes}
    is_same = {arm.name for arm in first.arms} == {arm.name for arm in second.arms}
    united = replace(
        first,
        sweep_id=first.sweep_id if is_same else _join_ids(first, second),
        arms=arms,
        components=_unite_named(first.components, second.components),
        contrasts=_unite_named(first.contrasts, second.contrasts),
        seeds=tuple(sorted({*first.seeds, *second.seeds})),
        cells=tuple(sorted(cells, key=lambda c: (c.seed, arm_order[c.arm]))),
        evaluation_hashes={
            name: dict(sorted(h.items(), key=lambda item: _rank(item[0], first, second)))
            for name, h in evaluations.items()
        },
        missing_datasets=_intersect(first.missing_datasets, second.missing_datasets, present),
        missing_probe_data=_intersect(first.missing_probe_data, second.missing_probe_data, ()),
        forward_passes={**second.forward_passes, **first.forward_passes},
        comparison_facts={**second.comparison_facts, **first.comparison_facts},
        recipe_descriptions={**second.recipe_descriptions, **first.recipe_descriptions},
        skipped=tuple(dict.fromkeys([*first.skipped, *second.skipped])),
        rule_changes=tuple(dict.fromkeys([*first.rule_changes, *second.rule_changes])),
        overrides=first.overrides if is_same else (),
        predictions_date=max(first.predictions_date, second.predictions_date),
    )
    if is_same:
        return united
    return replace(united, predictions_digest=compute_predictions_digest(united))


def find_contradictions(first: Plan, second: Plan) -> Iterator[str]:
    """Yield a line for each statement of two plans that cannot both hold."""
    for name in COMPARED_FIELDS:
        if getattr(first, name) != getattr(second, name):
            yield f"their {name.replace('_', ' ')} differ"
    digests = {plan.adaptive.digest if plan.adaptive else None for plan in (first, second)}
    if len(digests) > 1:
        yield "their rules of adaptive seeds differ"
    base_configs = [_select_hashed(plan.base_config) for plan in (first, second)]
    if first.sweep_id != second.sweep_id and base_configs[0] != base_configs[1]:
        keys = sorted(k for k, v in base_configs[0].items() if base_configs[1].get(k) != v)
        yield f"their configurations differ ({', '.join(keys[:3]) or 'keys of one are missing'})"
    second_arms = {arm.name: arm for arm in second.arms}
    for arm in first.arms:
        other = second_arms.get(arm.name, arm)
        if arm.config_diff != other.config_diff:
            yield f"arm {arm.name} is configured differently"
        hashes = first.evaluation_hashes.get(arm.name, {})
        for dataset, evaluation in second.evaluation_hashes.get(arm.name, {}).items():
            if hashes.get(dataset, evaluation) != evaluation:
                yield f"arm {arm.name} is evaluated on {dataset} by different protocols or data"
    weights = {contrast.name: contrast.weights for contrast in second.contrasts}
    for contrast in first.contrasts:
        if weights.get(contrast.name, contrast.weights) != contrast.weights:
            yield f"contrast {contrast.name} has other weights"
    run_ids = _map_cells(second)
    for (arm_name, seed), run_id in _map_cells(first).items():
        if run_ids.get((arm_name, seed), run_id) != run_id:
            yield f"cell {arm_name}/{seed} is another run: its data or configuration differ"


def _unite_named(first: tuple[Named, ...], second: tuple[Named, ...]) -> tuple[Named, ...]:
    names: set[str] = {item.name for item in first}
    return first + tuple(item for item in second if item.name not in names)


def _join_ids(first: Plan, second: Plan) -> str:
    ids = sorted([first.sweep_id, second.sweep_id])
    return f"{first.ablation}-{first.budget}-{digest(['joined', *ids], 8)}"


def _rank(dataset: str, first: Plan, second: Plan) -> tuple[int, int]:
    """Return the position of a data set: in the order of the first plan, then of the second."""
    for number, plan in enumerate((first, second)):
        for hashes in plan.evaluation_hashes.values():
            if dataset in hashes:
                return number, list(hashes).index(dataset)
    return 2, 0


def _select_hashed(base_config: Mapping[str, Any]) -> dict[str, Any]:
    values = flatten(dict(base_config))
    return {key: value for key, value in values.items() if not sweep_keys.is_run_only(key)}


def _map_cells(plan: Plan) -> dict[tuple[str, int], str]:
    return {(cell.arm, cell.seed): cell.run_id for cell in plan.cells}


def _intersect(
    first: Mapping[str, str], second: Mapping[str, str], present: set[str] | tuple[()]
) -> dict[str, str]:
    """Return what both plans miss, but for what is present in one of them."""
    return {k: v for k, v in first.items() if k in second and k not in present}
