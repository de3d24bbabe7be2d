"""Minimum detectable effects before a sweep, from the runs that it has already.

This module imports nothing that takes long, because `plan` does; numpy and scipy are imported once
there are scores to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from analysis.results.purchases import Scores, build_observations, read_scores
from uniclip.store import Look, Plan, PrimaryMetric, Store

if TYPE_CHECKING:
    from analysis.statistics.effects import Effect

MAX_CONTRASTS = 4
"""Contrasts whose MDE is stated on a screen."""
MAX_LOOKS = 4
"""Looks at which an MDE is stated; of more, the first, the middle and the last."""
MDE_LABEL = "minimum detectable effect (80 % power)"
UNKNOWN = "unknown until pilot seeds ran (plan pilot=3 prices them)"
TOO_FEW = "unknown: a spread takes 3 seeds, and {} have run"


def describe_power(
    store: Store, plan: Plan, evidence_plan: Plan | None = None, *, whole: bool = False
) -> list[str]:
    """Return when verdicts are made, and the effects that they will detect, a sentence each.

    There is one sentence on the MDE for each primary score.

    Args:
        store: the store with the earlier runs.
        plan: the plan.
        evidence_plan: the plan with the cells of all seeds that the store has; None for `plan`.
        whole: state the MDE of every primary contrast, not of the first ones alone.
    """
    evidence_plan = evidence_plan or plan
    if not any(contrast.primary for contrast in plan.contrasts):
        return []
    schedule = f"verdicts at {plan.looks_text}; {_describe_first_look(plan)}"
    scores = {metric: read_scores(store, evidence_plan, metric) for metric in plan.primary_metrics}
    if not any(scores.values()):
        names = " and ".join(metric.metric for metric in plan.primary_metrics)
        return [schedule, f"{MDE_LABEL} on {names}: {UNKNOWN}"]
    return [
        schedule,
        *(
            _describe_mdes(evidence_plan, scores, metric, whole=whole)
            for metric in plan.primary_metrics
        ),
    ]


def _describe_mdes(
    plan: Plan, scores: Mapping[PrimaryMetric, Scores], metric: PrimaryMetric, *, whole: bool
) -> str:
    label = f"{MDE_LABEL} on {metric.metric}"
    if not scores[metric]:
        return f"{label}: {UNKNOWN}"
    effects = estimate_planned_effects(plan, scores)[metric.dataset, metric.metric]
    texts = [
        f"{contrast.label} {_format_mdes(plan, effects[contrast.name], scores[metric])}"
        for contrast in plan.contrasts
        if contrast.primary and effects[contrast.name].spread is not None
    ]
    if not texts:
        num_seeds = max(len(effect.values) for effect in effects.values())
        return f"{label}: {TOO_FEW.format(num_seeds) if num_seeds == 2 else UNKNOWN}"
    num_shown = len(texts) if whole else min(MAX_CONTRASTS, len(texts))
    more_text = f" and {len(texts) - num_shown} more" if num_shown < len(texts) else ""
    num_seeds = max(len(effect.values) for effect in effects.values())
    source = f"from the spread of {num_seeds} seeds, with its 95 % interval"
    *first, last = (str(look.num_seeds) for look in _select_looks(plan))
    looks_text = f"{', '.join(first)} and {last}" if first else last
    shown_text = "; ".join(texts[:num_shown])
    return f"{label} at {looks_text} seeds, {source}: {shown_text}{more_text}"


def _select_looks(plan: Plan) -> tuple[Look, ...]:
    """Return the looks at which an MDE is stated."""
    looks = plan.looks
    if len(looks) > MAX_LOOKS:  # one at every seed
        return (looks[0], looks[len(looks) // 2], looks[-1])
    return looks


def _describe_first_look(plan: Plan) -> str:
    """Return what the number of planned seeds means for the schedule."""
    num_planned = count_planned(plan)
    reached = [look.num_seeds for look in plan.looks if look.num_seeds <= num_planned]
    if not reached:
        first = plan.looks[0].num_seeds
        seeds_text = f" (from seed {plan.first_seed} on)" * (plan.first_seed not in plan.seeds)
        return f"with these seeds none: the first look needs seeds={first}{seeds_text}"
    return f"with these seeds up to the look at {reached[-1]}"


def count_planned(plan: Plan) -> int:
    """Return the number of planned seeds from the first one on, without a gap."""
    num_planned = 0
    while plan.first_seed + num_planned in plan.seeds:
        num_planned += 1
    return num_planned


def estimate_planned_effects(
    plan: Plan, scores: Mapping[PrimaryMetric, Scores]
) -> dict[tuple[str, str], dict[str, Effect]]:
    """Return score -> contrast -> effect, corrected over all scores that are planned."""
    from analysis.statistics.effects import Observations
    from analysis.statistics.verdicts import PrimaryScore, estimate_contrasts

    primary_scores = [
        PrimaryScore(
            key=(metric.dataset, metric.metric),
            observations=build_observations(plan, scores[metric])
            if scores[metric]
            else Observations(seeds=plan.seeds, values={}),
        )
        for metric in plan.primary_metrics
    ]
    return estimate_contrasts(plan.contrasts, primary_scores, plan.looks)


def _format_mdes(plan: Plan, effect: Effect, scores: Scores) -> str:
    """Return the MDE of each look: "4.1 (2.2 to 26), 3.0 (1.6 to 19) pp"."""
    from analysis.formatting import append_unit, make_number_format
    from analysis.statistics.looks import estimate_look_mde

    number_format = make_number_format(next(iter(scores.values())).kind, effect.standard_error)
    family_size = effect.look.family_size if effect.look else 1
    texts = [
        number_format.format_mde(estimate_look_mde(effect, look, plan.looks, family_size))
        for look in _select_looks(plan)
    ]
    return append_unit(", ".join(texts), number_format.difference_unit)
