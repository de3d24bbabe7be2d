"""Seeds that a minimum detectable effect takes, and their GPU-hours, before they are run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from analysis.results.pilot import UNKNOWN, estimate_planned_effects
from analysis.results.purchases import read_scores
from uniclip.store import Plan, Store

if TYPE_CHECKING:
    from analysis.statistics.effects import Effect

MIN_PILOT_SEEDS = 2
"""Seeds from which a spread is estimated."""


def describe_pilot(
    plan: Plan, num_seeds: int, seconds_by_arm: Mapping[str, float], gpus: int
) -> str:
    """Return what pilot seeds cost, and the words that run them.

    Args:
        plan: the plan.
        num_seeds: pilot seeds; they are the first seeds of the sweep, so nothing of them is lost.
        seconds_by_arm: arm -> seconds of one of its cells, for the arms that were measured.
        gpus: GPUs of one run; 0 for runs on CPUs.
    """
    hours = format_hours(plan, num_seeds, seconds_by_arm, gpus)
    replaced_words = "" if plan.adaptive is None else " instead of seeds=adaptive and max_seeds="
    caveat = "" if num_seeds > 2 else "; a minimum detectable effect takes 3"
    return (
        f"pilot: {num_seeds} seeds of {len(plan.arms)} arms, {num_seeds * len(plan.arms)} cells, "
        f"{hours}; run the same words with seeds={num_seeds}{replaced_words} (they are the first "
        f"seeds of the sweep, none is run twice){caveat}"
    )


def describe_seeds_for_mde(
    store: Store,
    plan: Plan,
    evidence_plan: Plan,
    mde: float,
    seconds_by_arm: Mapping[str, float],
    gpus: int,
) -> list[str]:
    """Return how many seeds detect an effect of `mde` with 80 % power, and what they cost; a
    sentence for each primary score.

    Args:
        store: the store with the earlier runs.
        plan: the plan, with its looks.
        evidence_plan: the plan with the cells of all seeds whose spread is known.
        mde: the effect, in the unit of the score.
        seconds_by_arm: arm -> seconds of one of its cells, for the arms that were measured.
        gpus: GPUs of one run; 0 for runs on CPUs.
    """
    scores = {metric: read_scores(store, evidence_plan, metric) for metric in plan.primary_metrics}
    lines = []
    for metric in plan.primary_metrics:
        start = f"mde={mde:g} on {metric.metric}"
        if not any(scores.values()):
            lines.append(f"{start}: {UNKNOWN}")
            continue
        effects = estimate_planned_effects(evidence_plan, scores)[metric.dataset, metric.metric]
        primary = [effects[c.name] for c in plan.contrasts if c.primary]
        known = [effect for effect in primary if len(effect.values) >= MIN_PILOT_SEEDS]
        if not known:
            lines.append(f"{start}: {UNKNOWN}")
            continue
        low, expected, high = _count_seeds(plan, known, mde)
        contrasts = "every primary contrast"
        if len(known) < len(primary):
            contrasts = f"{len(known)} of {len(primary)} primary contrasts, the others have no runs"
        hours = "" if expected is None else format_hours(plan, expected, seconds_by_arm, gpus)
        lines.append(
            f"{start}: {_format_count(expected)} seeds ({_format_count(low)} to "
            f"{_format_count(high)}) for {contrasts}{hours and ', ' + hours}; from the "
            f"spread of {min(len(effect.values) for effect in known)} seeds"
        )
    return lines


def format_hours(plan: Plan, num_seeds: int, seconds_by_arm: Mapping[str, float], gpus: int) -> str:
    """Return the cost of so many seeds of every arm: "3.2 GPU-hours"."""
    if any(arm.name not in seconds_by_arm for arm in plan.arms):
        return "cost not measured (plan --probe measures it)"
    seconds = sum(seconds_by_arm[arm.name] for arm in plan.arms)
    unit = "GPU-hours" if gpus else "worker hours"
    return f"{num_seeds * seconds * (gpus or 1) / 3600:.2g} {unit}"


def _count_seeds(
    plan: Plan, effects: list[Effect], mde: float
) -> tuple[int | None, int | None, int | None]:
    """Return the seeds for the largest spread, at the ends of its 95 % interval and as estimated;
    None for more than 1000."""
    from analysis.statistics.power import compute_spread_interval

    spreads = [(_estimate_spread(effect), len(effect.values) - 1) for effect in effects]
    family_size = max(effect.look.family_size if effect.look else 1 for effect in effects)
    intervals = [compute_spread_interval(spread, df) for spread, df in spreads]
    candidates = (
        max(low for low, _ in intervals),
        max(spread for spread, _ in spreads),
        max(high for _, high in intervals),
    )
    low, expected, high = (_find_seeds(plan, mde, spread, family_size) for spread in candidates)
    return low, expected, high


def _estimate_spread(effect: Effect) -> float:
    import numpy as np

    return effect.spread or float(np.std(effect.values, ddof=1))


def _find_seeds(plan: Plan, mde: float, spread: float, family_size: int) -> int | None:
    """Return the seeds of the first look that detects the effect, or of a later test at the level
    of the last look."""
    from analysis.statistics.looks import compute_test_level
    from analysis.statistics.power import find_required_seeds

    if not spread:
        return plan.looks[0].num_seeds
    required = None
    for look in plan.looks:
        level = compute_test_level(look, plan.looks, family_size)
        required = find_required_seeds(mde / spread, level, equivalence=False)
        if required is not None and required <= look.num_seeds:
            return look.num_seeds
    return required


def _format_count(count: int | None) -> str:
    return "more than 1000" if count is None else str(count)
