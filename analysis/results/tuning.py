"""Effect of tuning: every arm with default and with tuned hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.collect.frame import collect_sweep_data
from analysis.statistics.effects import Effect, Observations, estimate_effect
from uniclip.store import Plan, Store

TUNED, DEFAULT = "tuned", "default"


@dataclass(frozen=True, kw_only=True)
class TuningComparison:
    """Scores of the default arms next to those of the tuned ones, on the primary score."""

    runs: dict[tuple[str, int], str]
    """(arm, seed) -> run with default values."""
    training_hashes: dict[str, str]
    """Run id -> hash of the training code."""
    observations: Observations
    """Of the arms with default values."""
    gains: dict[str, Effect]
    """Arm -> tuned minus default, paired by seed; uncorrected."""
    effects: dict[str, Effect]
    """Contrast -> effect between arms with default values; uncorrected."""


def compare_with_default(
    store: Store, plan: Plan, tuned_observations: Observations
) -> TuningComparison | None:
    """Compare the arms of a tuned plan with their defaults; None for a plan that was not tuned.

    Raises:
        UserError: if the sweep of the default arms is no longer in the store.
    """
    if plan.tuning is None:
        return None
    sweep_data = collect_sweep_data(store, plan.tuning.default_sweep)
    default_observations = sweep_data.get_observations(
        plan.primary_metric.dataset, plan.primary_metric.metric
    )
    return TuningComparison(
        runs={(c.arm, c.seed): c.run_id for c in sweep_data.plan.cells},
        training_hashes=sweep_data.training_hashes,
        observations=default_observations,
        gains={
            arm.name: _estimate_gain(arm.name, tuned_observations, default_observations)
            for arm in plan.arms
        },
        effects={c.name: estimate_effect(c.weights, default_observations) for c in plan.contrasts},
    )


def _estimate_gain(
    arm: str, tuned_observations: Observations, default_observations: Observations
) -> Effect:
    observations_by_side = {TUNED: tuned_observations, DEFAULT: default_observations}
    paired_observations = Observations(
        seeds=tuned_observations.seeds,
        values={
            side: observations.values.get(arm, {})
            for side, observations in observations_by_side.items()
        },
        diverged_cells=frozenset(
            (side, seed)
            for side, observations in observations_by_side.items()
            for diverged_arm, seed in observations.diverged_cells
            if diverged_arm == arm
        ),
        chance=tuned_observations.chance,
        resolution=max(tuned_observations.resolution, default_observations.resolution),
        higher_is_better=tuned_observations.higher_is_better,
    )
    return estimate_effect({TUNED: 1.0, DEFAULT: -1.0}, paired_observations)
