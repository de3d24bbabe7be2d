"""Minimum detectable effects before a sweep, from the runs that it has already.

This module imports nothing that takes long, because `plan` does; numpy and scipy are imported once
there are scores to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uniclip.store import Plan, Score, Store, get_score_kind_traits

if TYPE_CHECKING:
    from analysis.statistics.effects import Effect, Observations

MAX_CONTRASTS = 4
"""Contrasts whose MDE is stated."""


def describe_power(store: Store, plan: Plan) -> list[str]:
    """Return when verdicts are made, and the effects that they will detect, a sentence each."""
    if not any(contrast.primary for contrast in plan.contrasts):
        return []
    metric = plan.primary_metric.metric
    lines = [f"verdicts at {plan.looks_text}; {_describe_first_look(plan)}"]
    scores = read_primary_scores(store, plan)
    label = f"minimum detectable effect (80 % power) on {metric}"
    if not scores:
        return [*lines, f"{label}: not known before 3 seeds of this sweep have run"]
    effects = _estimate_effects(plan, scores)
    texts = [
        f"{contrast.label} {_format_mdes(plan, effects[contrast.name], scores)}"
        for contrast in plan.contrasts
        if contrast.primary and effects[contrast.name].spread is not None
    ]
    if not texts:
        return [*lines, f"{label}: not known before 3 seeds of this sweep have run"]
    more_text = f" and {len(texts) - MAX_CONTRASTS} more" if len(texts) > MAX_CONTRASTS else ""
    num_seeds = max(len(effect.values) for effect in effects.values())
    source = f"from the spread of {num_seeds} seeds, with its 95 % interval"
    return [*lines, f"{label}, {source}: {'; '.join(texts[:MAX_CONTRASTS])}{more_text}"]


def read_primary_scores(store: Store, plan: Plan) -> dict[tuple[str, int], Score]:
    """Return (arm, seed) -> the primary score, for the cells that have one."""
    dataset, metric = plan.primary_metric.dataset, plan.primary_metric.metric
    scores = {}
    for cell in plan.cells:
        evaluation_hash = plan.evaluation_hashes[cell.arm].get(dataset)
        run = store.get_run(cell.run_id)
        if evaluation_hash is None or not run.is_readable():
            continue
        record = run.read_scores(dataset, evaluation_hash)
        for score in record.scores if record is not None else ():
            if score.name == metric:
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


def _estimate_effects(plan: Plan, scores: Mapping[tuple[str, int], Score]) -> dict[str, Effect]:
    from analysis.statistics.verdicts import PrimaryScore, estimate_contrasts

    key = plan.primary_metric.dataset, plan.primary_metric.metric
    primary_score = PrimaryScore(key=key, observations=_build_observations(plan, scores))
    return estimate_contrasts(plan.contrasts, [primary_score], plan.looks)[key]


def _build_observations(plan: Plan, scores: Mapping[tuple[str, int], Score]) -> Observations:
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


def _format_mdes(plan: Plan, effect: Effect, scores: Mapping[tuple[str, int], Score]) -> str:
    """Return the MDE of each look: "4.1 (2.2 to 26) pp at 5 seeds, ..."."""
    from analysis.formatting import append_unit, make_number_format
    from analysis.statistics.looks import estimate_look_mde

    number_format = make_number_format(next(iter(scores.values())).kind, effect.standard_error)
    family_size = len(plan.primary_metrics) * (effect.look.family_size if effect.look else 1)
    texts = []
    for look in plan.looks:
        mde = estimate_look_mde(effect, look, family_size)
        text = append_unit(number_format.format_mde(mde), number_format.difference_unit)
        texts.append(f"{text} at {look.num_seeds} seeds")
    return ", ".join(texts)
