"""Adaptive seeds: the plan of a sweep whose cells are bought while it runs (`seeds=adaptive`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ablations.plan.plan import ResolvedPlan
from ablations.plan.predictions import check_null_predictions, compute_predictions_digest
from analysis.results.purchases import read_purchases
from sweeps.config.schema import SweepConfig
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.io.hashing import digest
from uniclip.store import AdaptiveRule, Margin, Plan, Store

INITIAL_SEEDS = 4
"""Seeds that every arm has before the first decision (docs/adaptive_rates.md compares 3, 4 and
5)."""
MARGIN_REASON = "margin= on the command line"


def apply_settings(
    resolved_plan: ResolvedPlan, settings: SweepConfig, store: Store
) -> ResolvedPlan:
    """Return the plan with the margins and the adaptive seeds of the settings.

    The hash of predictions covers both: they are rules by which predictions are graded.
    """
    plan = apply_margin(resolved_plan.plan, settings.margin)
    check_null_predictions(plan)
    resolved_plan = replace(resolved_plan, plan=plan)
    if settings.is_adaptive:
        resolved_plan = make_adaptive(
            resolved_plan,
            store,
            max_seeds=len(settings.resolve_seeds()),
            max_gpu_hours=settings.max_gpu_hours,
        )
    plan = resolved_plan.plan
    plan = replace(plan, predictions_digest=compute_predictions_digest(plan))
    return replace(resolved_plan, plan=plan)


def apply_margin(plan: Plan, margin: float | Mapping[str, float] | None) -> Plan:
    """Return the plan with the margins of `margin=`, which replace those of the ablation.

    Args:
        plan: the plan.
        margin: that of the primary score, or score -> margin; None to keep those of the ablation.

    Raises:
        UserError: a name is no primary score, or a margin is not above 0.
    """
    if margin is None:
        return plan
    metrics = {metric.metric: metric for metric in plan.primary_metrics}
    values = margin if isinstance(margin, Mapping) else {plan.primary_metric.metric: margin}
    margins = {m.metric: m for m in plan.margins}
    for name, value in values.items():
        if name not in metrics:
            raise UserError(f"margin: {make_unknown_name_error('primary score', name, metrics)}")
        if not value > 0:
            raise UserError(f"margin of {name} must be above 0, got {value:g}")
        margins[name] = Margin(
            dataset=metrics[name].dataset, metric=name, value=value, reason=MARGIN_REASON
        )
    return replace(plan, margins=tuple(margins[name] for name in metrics if name in margins))


def make_adaptive(
    resolved_plan: ResolvedPlan,
    store: Store,
    *,
    max_seeds: int,
    max_gpu_hours: float | None,
) -> ResolvedPlan:
    """Return a plan with a look after every seed and with the cells that are bought so far.

    Args:
        resolved_plan: the plan with all `max_seeds` seeds of every arm.
        store: the store, whose scores decide.
        max_seeds: seeds that no arm exceeds.
        max_gpu_hours: limit of the GPU-hours of all cells; None for none.

    Raises:
        UserError: there is no primary contrast or no score to decide on.
    """
    from analysis.statistics.sequential_t import build_sequential_looks  # numpy and scipy

    plan = resolved_plan.plan
    if not any(contrast.primary for contrast in plan.contrasts):
        raise UserError(
            f"seeds=adaptive decides primary contrasts, and this plan of {plan.ablation} has none: "
            "give a number of seeds"
        )
    plan = replace(plan, looks=build_sequential_looks(INITIAL_SEEDS, max_seeds))
    rule = AdaptiveRule(initial_seeds={}, max_seeds=max_seeds, max_gpu_hours=max_gpu_hours)
    rule = replace(rule, digest=compute_rule_digest(plan, rule))
    stored_plan = store.get_sweep(plan.sweep_id).read_plan()
    rule = replace(rule, initial_seeds=_count_initial_seeds(plan, rule, stored_plan, store))
    plan = replace(plan, adaptive=rule)
    bought = set(read_purchases(store, plan).cells)
    cells = tuple(c for c in plan.cells if (c.arm, c.seed) in bought)
    runs = {cell.run_id for cell in cells}
    return replace(
        resolved_plan,
        plan=replace(plan, cells=cells, seeds=tuple(sorted({cell.seed for cell in cells}))),
        specs={run: spec for run, spec in resolved_plan.specs.items() if run in runs},
    )


def compute_rule_digest(plan: Plan, rule: AdaptiveRule) -> str:
    """Return the hash of everything that decides purchases, except scores and prices."""
    content = {
        "max_seeds": rule.max_seeds,
        "max_gpu_hours": rule.max_gpu_hours,
        "looks": [[look.num_seeds, look.level] for look in plan.looks],
        "margins": sorted([m.dataset, m.metric, m.value] for m in plan.margins),
        "scores": [[m.dataset, m.metric] for m in plan.primary_metrics],
        "contrasts": [[c.name, c.kind, c.weights, c.primary] for c in plan.contrasts],
        "first_seed": plan.first_seed,
    }
    return digest(content, 12)


def _count_initial_seeds(
    plan: Plan, rule: AdaptiveRule, stored_plan: Plan | None, store: Store
) -> dict[str, int]:
    """Return arm -> seeds of the first round: at least `INITIAL_SEEDS`.

    Cells that were started under other rules, with fixed seeds for instance, count as bought in the
    first round, for their values are in the report too.
    """
    if (
        stored_plan is not None
        and stored_plan.adaptive is not None
        and stored_plan.adaptive.digest == rule.digest
    ):
        return stored_plan.adaptive.initial_seeds
    started = {
        (cell.arm, cell.seed)
        for cell in (stored_plan.cells if stored_plan is not None else ())
        if not (run := store.get_run(cell.run_id)).is_readable() or run.list_attempts()
    }
    counts = {}
    for arm in plan.arms:
        count = 0
        while (arm.name, plan.first_seed + count) in started:
            count += 1
        counts[arm.name] = min(max(INITIAL_SEEDS, count), rule.max_seeds)
    return counts
