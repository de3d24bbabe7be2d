"""The purchases of an adaptive sweep, from the scores in its store.

This module imports nothing that takes long, because `plan` and `status` do; numpy and scipy are
imported where there is an adaptive sweep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.store import Plan, PrimaryMetric, Score, Store, get_score_kind_traits

if TYPE_CHECKING:
    from analysis.statistics.effects import Observations
    from analysis.statistics.purchases import CellKey, PurchaseRule, Purchases
    from analysis.statistics.verdicts import PrimaryScore

Scores = Mapping[tuple[str, int], Score]
"""(arm, seed) -> score."""


def read_purchases(store: Store, plan: Plan) -> Purchases:
    """Return what an adaptive sweep has bought, and buys next.

    While there is a limit of GPU-hours and cells have no prices yet, it is the first round alone.

    Args:
        store: the store of the sweep.
        plan: its plan, with a cell for every arm and each of the `max_seeds` seeds.

    Raises:
        UserError: a primary score is not evaluated, so nothing could be decided.
    """
    from analysis.statistics.purchases import replay_purchases

    assert plan.adaptive is not None
    _require_primary_scores(plan)
    diverged_cells, finished_cells = _read_finished_cells(store, plan)
    scores = [_read_primary_score(store, plan, m, diverged_cells) for m in plan.primary_metrics]
    rule = build_purchase_rule(store, plan)
    if plan.adaptive.max_gpu_hours is not None and not rule.prices:
        finished_cells = frozenset()
    return replay_purchases(rule, scores, finished_cells)


def describe_end(store: Store, plan: Plan) -> str:
    """Return why an adaptive sweep buys no more cells, and which contrasts are undecided.

    Args:
        store: the store of the sweep.
        plan: its plan, with the cells that are bought.
    """
    purchases = read_purchases(store, plan)
    if purchases.stop_reason is None:
        return "adaptive seeds: no further round, since cells have no result"
    labels = [c.label for c in plan.contrasts if c.name in purchases.undecided]
    undecided = f"; undecided: {', '.join(labels)}" if labels else ""
    return f"adaptive seeds: {purchases.stop_reason}{undecided}"


def build_purchase_rule(store: Store, plan: Plan) -> PurchaseRule:
    """Return the rule of an adaptive plan, with the prices that its store has."""
    from analysis.statistics.purchases import PurchaseRule

    assert plan.adaptive is not None
    prices = store.get_sweep(plan.sweep_id).read_cell_prices()
    return PurchaseRule(
        rule=plan.adaptive,
        arms=tuple(arm.name for arm in plan.arms),
        contrasts=plan.contrasts,
        looks=plan.looks,
        first_seed=plan.first_seed,
        prices=prices.gpu_hours if prices is not None else {},
    )


def build_observations(
    plan: Plan, scores: Scores, diverged_cells: frozenset[CellKey] = frozenset()
) -> Observations:
    """Return the values of one score, as the report has them."""
    from analysis.statistics.effects import Observations

    values: dict[str, dict[int, float]] = {}
    for (arm, seed), score in scores.items():
        values.setdefault(arm, {})[seed] = score.value
    if not scores:
        return Observations(
            seeds=plan.seeds, values={}, diverged_cells=diverged_cells, first_seed=plan.first_seed
        )
    num_samples = max(score.num_samples for score in scores.values())
    traits = get_score_kind_traits(next(iter(scores.values())).kind)
    return Observations(
        seeds=plan.seeds,
        first_seed=plan.first_seed,
        values=values,
        diverged_cells=diverged_cells,
        resolution=1 / num_samples if traits.has_steps and num_samples else 0.0,
        higher_is_better=traits.higher_is_better is not False,
    )


def read_scores(store: Store, plan: Plan, metric: PrimaryMetric) -> dict[CellKey, Score]:
    """Return (arm, seed) -> a score, for the cells that have it."""
    scores = {}
    for cell in plan.cells:
        evaluation_hash = plan.evaluation_hashes[cell.arm].get(metric.dataset)
        run = store.get_run(cell.run_id)
        if evaluation_hash is None or not run.is_readable():
            continue
        record = run.read_scores(metric.dataset, evaluation_hash)
        for score in record.scores if record is not None else ():
            if score.name == metric.metric:
                scores[cell.arm, cell.seed] = score
    return scores


def _require_primary_scores(plan: Plan) -> None:
    for metric in plan.primary_metrics:
        if any(metric.dataset not in hashes for hashes in plan.evaluation_hashes.values()):
            raise UserError(
                f"seeds=adaptive decides on {metric.metric} of {metric.dataset}, which is not "
                f"evaluated: add {metric.dataset} to benchmark="
            )


def _read_finished_cells(store: Store, plan: Plan) -> tuple[frozenset[CellKey], frozenset[CellKey]]:
    """Return the cells that diverged, and all that have a result: those, and the scored ones."""
    diverged_cells, finished_cells = set(), set()
    datasets = {metric.dataset for metric in plan.primary_metrics}
    for cell in plan.cells:
        run = store.get_run(cell.run_id)
        outcome = run.read_outcome() if run.is_readable() else None
        if outcome is None:
            continue
        hashes = plan.evaluation_hashes[cell.arm]
        if outcome.kind == "diverged":
            diverged_cells.add((cell.arm, cell.seed))
        elif any(run.read_scores(name, hashes[name]) is None for name in datasets):
            continue
        finished_cells.add((cell.arm, cell.seed))
    return frozenset(diverged_cells), frozenset(finished_cells)


def _read_primary_score(
    store: Store, plan: Plan, metric: PrimaryMetric, diverged_cells: frozenset[CellKey]
) -> PrimaryScore:
    from analysis.statistics.verdicts import PrimaryScore

    margin = plan.get_margin(metric.dataset, metric.metric)
    return PrimaryScore(
        key=(metric.dataset, metric.metric),
        observations=build_observations(plan, read_scores(store, plan, metric), diverged_cells),
        margin=margin.value if margin is not None else None,
    )
