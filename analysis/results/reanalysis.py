"""Analysis of a sweep on another score, or at another level, than the plan declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scipy import special

from analysis.collect.frame import SweepData, collect_sweep_data
from analysis.results.results import Results, analyze
from analysis.statistics.effects import ALPHA, Effect
from analysis.statistics.looks import choose_planning_look, estimate_look_mde, scale_levels
from analysis.statistics.verdicts import ScoreKey
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.frames.store_frames import StoreFrames, open_store
from uniclip.store import Plan, PrimaryMetric


def analyze_sweep(
    store: StoreFrames | str | Path,
    sweep: str,
    *,
    score: str | None = None,
    alpha: float = ALPHA,
) -> Results:
    """Return the results of a sweep, as the report has them, or on another score or level.

    On a score that the plan does not declare, the primary contrasts are one family for Holm's
    correction, as they are on a declared one. But a score that is chosen after the runs is
    exploratory, whatever the correction: a note of the results says so, and the frames and tables
    repeat it.

    Args:
        store: the store, as `uniclip.open_store` returns it, or its folder.
        sweep: id of the sweep, or its start.
        score: such as "retrieval.mrr" or, of another data set, "openmoji/retrieval.mrr"; None for
            the primary scores of the plan.
        alpha: probability of a false verdict in the family of primary contrasts; the shares of the
            looks stay in proportion, and intervals have the level 1 - alpha.

    Raises:
        UserError: there is no such store, sweep or score, or `alpha` is no probability.
    """
    if not 0 < alpha < 1:
        raise UserError(f"alpha={alpha!r} is no probability: give a number between 0 and 1")
    frames = store if isinstance(store, StoreFrames) else open_store(store)
    sweep_data = collect_sweep_data(frames.store, frames.find_sweep(sweep))
    if score is not None:
        key = find_score(sweep_data, score)
        sweep_data = replace(sweep_data, plan=_choose_primary(sweep_data.plan, key))
    results = analyze(frames.store, sweep_data)
    return results if alpha == ALPHA else _set_alpha(results, alpha)


def find_score(sweep_data: SweepData, score: str) -> ScoreKey:
    """Return the (data set, score) that a name means: on the primary data set if it is there.

    Raises:
        UserError: there is no such score, or several data sets have it.
    """
    keys = sweep_data.list_score_keys()
    primary_dataset = sweep_data.plan.primary_metric.dataset
    matches = [k for k in keys if score in (k[1], f"{k[0]}/{k[1]}")]
    preferred = [k for k in matches if k[0] == primary_dataset] or matches
    if not preferred:
        raise make_unknown_name_error("score", score, [name for _, name in keys])
    if len(preferred) > 1:
        names = ", ".join(f"{dataset}/{name}" for dataset, name in preferred)
        raise UserError(f"several data sets have the score {score}: give one of {names}")
    return preferred[0]


def get_alpha(results: Results) -> float:
    """Return the level at which verdicts are made; 0.05 if nothing is tested."""
    looks = [e.look for e in results.effects.values() if e.look is not None]
    return looks[0].alpha if looks else ALPHA


def _choose_primary(plan: Plan, key: ScoreKey) -> Plan:
    """Return a plan with this score as the first primary one."""
    chosen = PrimaryMetric(dataset=key[0], metric=key[1])
    if chosen in plan.primary_metrics:
        others = [m for m in plan.primary_metrics if m != chosen]
        return replace(plan, primary_metric=chosen, co_primary_metric=others[0] if others else None)
    note = (
        f"{key[1]} on {key[0]} was chosen after the runs: the plan does not declare it as a "
        "primary score, so these verdicts are exploratory."
    )
    return replace(
        plan,
        primary_metric=chosen,
        co_primary_metric=None,
        rule_changes=(*plan.rule_changes, note),
    )


def _set_alpha(results: Results, alpha: float) -> Results:
    """Return the results with verdicts, intervals and MDEs of another level."""
    primary_effects = {
        key: {name: _set_effect_alpha(effect, alpha) for name, effect in effects.items()}
        for key, effects in results.primary_effects.items()
    }
    other_effects = {
        key: {name: _set_effect_alpha(effect, alpha) for name, effect in effects.items()}
        for key, effects in results.other_effects.items()
    }
    return replace(results, primary_effects=primary_effects, other_effects=other_effects)


def _set_effect_alpha(effect: Effect, alpha: float) -> Effect:
    if effect.low is not None and effect.mean is not None and effect.standard_error is not None:
        quantile = float(special.stdtrit(len(effect.values) - 1, 1 - alpha / 2))
        half_width = quantile * effect.standard_error
        effect = replace(effect, low=effect.mean - half_width, high=effect.mean + half_width)
    if effect.look is None:
        return effect
    looks = scale_levels(effect.look.looks, alpha)
    reached = effect.look.reached
    if reached is not None:
        reached = looks[effect.look.looks.index(reached)]
    look = replace(effect.look, alpha=alpha, looks=looks, reached=reached)
    planning_look = choose_planning_look(looks, look.reached)
    return replace(
        effect, look=look, mde=estimate_look_mde(effect, planning_look, looks, look.family_size)
    )
