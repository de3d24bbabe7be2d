"""Minimum detectable effects before a sweep, from the runs that it has already.

This module imports nothing that takes long, because `plan` does; numpy and scipy are imported once
there are scores to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uniclip.store import Plan, PrimaryMetric, Score, Store, get_score_kind_traits

if TYPE_CHECKING:
    from analysis.statistics.effects import Effect, Observations

MAX_CONTRASTS = 4
"""Contrasts whose MDE is stated."""
MDE_LABEL = "minimum detectable effect (80 % power)"
UNKNOWN = "not known before 3 seeds of this sweep have run"
Scores = Mapping[tuple[str, int], Score]
"""(arm, seed) -> score."""


def describe_power(store: Store, plan: Plan) -> list[str]:
    """Return when verdicts are made, and the effects that they will detect, a sentence each.

    There is one sentence on the MDE for each primary score.
    """
    if not any(contrast.primary for contrast in plan.contrasts):
        return []
    schedule = f"verdicts at {plan.looks_text}; {_describe_first_look(plan)}"
    scores = {metric: read_scores(store, plan, metric) for metric in plan.primary_metrics}
    if not any(scores.values()):
        names = " and ".join(metric.metric for metric in plan.primary_metrics)
        return [schedule, f"{MDE_LABEL} on {names}: {UNKNOWN}"]
    return [schedule, *(_describe_mdes(plan, scores, metric) for metric in plan.primary_metrics)]


def _describe_mdes(
    plan: Plan, scores: Mapping[PrimaryMetric, Scores], metric: PrimaryMetric
) -> str:
    label = f"{MDE_LABEL} on {metric.metric}"
    if not scores[metric]:
        return f"{label}: {UNKNOWN}"
    effects = _estimate_effects(plan, scores)[metric.dataset, metric.metric]
    texts = [
        f"{contrast.label} {_format_mdes(plan, effects[contrast.name], scores[metric])}"
        for contrast in plan.contrasts
        if contrast.primary and effects[contrast.name].spread is not None
    ]
    if not texts:
        return f"{label}: {UNKNOWN}"
    more_text = f" and {len(texts) - MAX_CONTRASTS} more" if len(texts) > MAX_CONTRASTS else ""
    num_seeds = max(len(effect.values) for effect in effects.values())
    source = f"from the spread of {num_seeds} seeds, with its 95 % interval"
    return f"{label}, {source}: {'; '.join(texts[:MAX_CONTRASTS])}{more_text}"


def read_scores(store: Store, plan: Plan, metric: PrimaryMetric) -> Scores:
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


def _estimate_effects(
    plan: Plan, scores: Mapping[PrimaryMetric, Scores]
) -> dict[tuple[str, str], dict[str, Effect]]:
    """Return score -> contrast -> effect, corrected over all scores that are planned."""
    from analysis.statistics.effects import Observations
    from analysis.statistics.verdicts import PrimaryScore, estimate_contrasts

    primary_scores = [
        PrimaryScore(
            key=(metric.dataset, metric.metric),
            observations=_build_observations(plan, scores[metric])
            if scores[metric]
            else Observations(seeds=plan.seeds, values={}),
        )
        for metric in plan.primary_metrics
    ]
    return estimate_contrasts(plan.contrasts, primary_scores, plan.looks)


def _build_observations(plan: Plan, scores: Scores) -> Observations:
    from analysis.statistics.effects import Observations

    values: dict[str, dict[int, float]] = {}
    for (arm, seed), score in scores.items():
        values.setdefault(arm, {})[seed] = score.value
    num_samples = max(score.num_samples for score in scores.values())
    has_steps = get_score_kind_traits(next(iter(scores.values())).kind).has_steps
    return Observations(
        seeds=plan.seeds,
        first_seed=plan.first_seed,
        values=values,
        resolution=1 / num_samples if has_steps and num_samples else 0.0,
    )


def _format_mdes(plan: Plan, effect: Effect, scores: Scores) -> str:
    """Return the MDE of each look: "4.1 (2.2 to 26) pp at 5 seeds, ..."."""
    from analysis.formatting import append_unit, make_number_format
    from analysis.statistics.looks import estimate_look_mde

    number_format = make_number_format(next(iter(scores.values())).kind, effect.standard_error)
    family_size = effect.look.family_size if effect.look else 1
    texts = []
    for look in plan.looks:
        mde = estimate_look_mde(effect, look, family_size)
        text = append_unit(number_format.format_mde(mde), number_format.difference_unit)
        texts.append(f"{text} at {look.num_seeds} seeds")
    return ", ".join(texts)
