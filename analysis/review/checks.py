"""All checks of a review, and what they need of the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from analysis.collect.frame import collect_plan_data
from analysis.results.results import Results, analyze
from analysis.review import design, idle_components, scores, seeds
from analysis.review import tuning as hyperparameters
from analysis.review.finding import Finding, ReviewInput
from uniclip.errors import UserError
from uniclip.store import Plan, Store

Check = Callable[[ReviewInput], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "unfinished_cells": seeds.check_unfinished_cells,
    "unequal_compute": design.check_compute,
    "untuned_arms": hyperparameters.check_untuned_arms,
    "optimum_at_boundary": hyperparameters.check_boundaries,
    "reused_tuning_seeds": hyperparameters.check_tuning_seeds,
    "too_few_seeds": seeds.check_power,
    "best_of_seeds": seeds.check_chosen_seeds,
    "unequal_divergence": seeds.check_divergence,
    "aliased_effects": design.check_aliases,
    "idle_component": idle_components.check_idle_components,
    "floor": scores.check_floor,
    "ceiling": scores.check_ceiling,
    "leakage": scores.check_leakage,
    "validation_split": scores.check_split,
    "changed_rules": seeds.check_rule_changes,
    "mixed_versions": seeds.check_versions,
    "unverified_provenance": seeds.check_provenance,
    "one_dataset": design.check_datasets,
    "one_scale": design.check_scale,
}
"""Name -> check; major ones precede."""


def review_sweep(store: Store, plan: Plan) -> list[Finding]:
    """Return what a reviewer would attack in a sweep, in the order of `CHECKS`.

    Raises:
        UserError: a file of the store is damaged, or the sweep has no result yet.
    """
    results = analyze(store, collect_plan_data(store, plan))
    if not any(observations.values for observations in results.observations.values()):
        raise UserError(f"{plan.sweep_id} has no scores yet: review needs a sweep that has run")
    return review_results(store, results)


def review_results(store: Store, results: Results) -> list[Finding]:
    """Return what a reviewer would attack in results that have scores, in the order of `CHECKS`.

    Raises:
        UserError: a file of the store is damaged.
    """
    plan = results.plan
    related_plans = list(_iterate_related_plans(store, plan))
    review = ReviewInput(
        results=results,
        related_plans=related_plans,
        further_seeds=_find_further_seeds(store, plan, related_plans),
    )
    return [finding for check in CHECKS.values() for finding in check(review)]


def _iterate_related_plans(store: Store, plan: Plan) -> Iterator[Plan]:
    """Yield the other plans of the same ablation with a finished run."""
    for folder in store.iter_sweeps():
        with suppress(UserError):  # a plan of another version
            other = folder.read_plan()
            if other is None or other.ablation != plan.ablation or other.sweep_id == plan.sweep_id:
                continue
            runs = (store.get_run(cell.run_id) for cell in other.cells)
            if any(run.is_readable() and run.read_outcome() is not None for run in runs):
                yield other


def _find_further_seeds(
    store: Store, plan: Plan, related_plans: Sequence[Plan]
) -> dict[str, list[int]]:
    """Return arm -> seeds outside the plan with which the store has a finished run of the arm.

    Seeds of tunings are left out: the first trial of an arm has its default values.
    """
    planned_runs = {cell.run_id for cell in plan.cells}
    seedless_arms: dict[str, str] = {}
    for cell in plan.cells:
        run = store.get_run(cell.run_id)
        if run.is_readable() and run.has_spec() and cell.arm not in seedless_arms.values():
            seedless_arms[_format_seedless(run.read_spec())] = cell.arm
    further: dict[str, list[int]] = {}
    for run in store.iter_runs():
        if run.id in planned_runs or not run.is_readable() or not run.has_spec():
            continue
        spec = run.read_spec()
        arm = seedless_arms.get(_format_seedless(spec))
        if arm is not None and run.read_outcome() is not None:
            further.setdefault(arm, []).append(int(spec["config"]["seed"]))
    tunings = [p.tuning for p in (plan, *related_plans) if p.tuning is not None]
    tuning_seeds = {seed for tuning in tunings for seed in tuning.seeds}
    return {
        arm.name: seeds
        for arm in plan.arms
        if (seeds := sorted(set(further.get(arm.name, ())) - tuning_seeds))
    }


def _format_seedless(spec: dict[str, Any]) -> str:
    """Return a spec without its seed, as a text that can be compared."""
    config = {key: value for key, value in spec["config"].items() if key != "seed"}
    return json.dumps({**spec, "config": config}, sort_keys=True, default=str)
