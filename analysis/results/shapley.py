"""Shapley values of a sweep: what each component adds to others, and where its sign changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.effects import (
    ALPHA,
    MIN_SEEDS_FOR_INTERVAL,
    Observations,
    compute_min_spread,
    paired_t,
)
from analysis.statistics.multiplicity import holm_adjust
from analysis.statistics.order_samples import OrderSample, estimate_order_sample
from uniclip.store import Plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a component adds to some others."""

    before: tuple[str, ...]
    """Components that are on already."""
    mean: float
    p: float | None
    """p-value of "it adds nothing", with Holm's correction over the gains of the component; None
    below three seeds."""


@dataclass(frozen=True, kw_only=True)
class ShapleyDetails:
    """What stands behind the Shapley value of one component on one score."""

    component: str
    gains: tuple[Gain, ...]
    """Smallest first."""
    sample: OrderSample | None
    """Uncertainty due to the sampled orders; None if all are used, or without data."""

    @property
    def sign_change(self) -> tuple[Gain, Gain] | None:
        """The smallest and the largest gain, if one is shown to be below 0 and one above."""
        shown = [g for g in self.gains if g.p is not None and g.p < ALPHA]
        below, above = ([g for g in shown if sign * g.mean > 0] for sign in (-1, 1))
        return (below[0], above[-1]) if below and above else None


def analyze_shapley(plan: Plan, observations: Observations) -> list[ShapleyDetails]:
    """Return the details of each component with a Shapley value; nothing for other designs."""
    components = [c.component for c in plan.contrasts if c.kind == "shapley" and c.component]
    arms = {
        frozenset(n for n, on in arm.levels.items() if on): arm.name
        for arm in plan.arms
        if arm.role == "crossed"
    }
    seeds = find_complete_seeds(arms.values(), observations)
    return [
        ShapleyDetails(
            component=name,
            gains=_estimate_gains(name, arms, seeds, observations),
            sample=_estimate_sample(name, plan.orders, arms, seeds, observations),
        )
        for name in components
    ]


def find_complete_seeds(arms: Iterable[str], observations: Observations) -> list[int]:
    """Return the seeds that all of these arms have completed."""
    names, values = list(arms), observations.values
    return [s for s in observations.seeds if all(s in values.get(arm, {}) for arm in names)]


def _read_gains(plus: str, minus: str, seeds: Sequence[int], observations: Observations) -> Floats:
    return np.array([observations.values[plus][s] - observations.values[minus][s] for s in seeds])


def _estimate_gains(
    name: str,
    arms: Mapping[frozenset[str], str],
    seeds: Sequence[int],
    observations: Observations,
) -> tuple[Gain, ...]:
    """Return what the component adds to every set of others of which both arms were run."""
    if not seeds:
        return ()
    pairs = {
        on - {name}: (arms[on], arms[on - {name}])
        for on in arms
        if name in on and on - {name} in arms
    }
    table = np.stack([_read_gains(*pair, seeds, observations) for pair in pairs.values()])
    p_values: list[float] | None = None
    if len(seeds) >= MIN_SEEDS_FOR_INTERVAL:
        min_spread = compute_min_spread({"plus": 1.0, "minus": -1.0}, observations)
        p_values = holm_adjust([float(p) for p in paired_t(table, min_spread=min_spread)[2]])
    gains = [
        Gain(
            before=tuple(sorted(before)),
            mean=float(values.mean()),
            p=None if p_values is None else p_values[i],
        )
        for i, (before, values) in enumerate(zip(pairs, table))
    ]
    return tuple(sorted(gains, key=lambda gain: (gain.mean, gain.before)))


def _estimate_sample(
    name: str,
    orders: Sequence[Sequence[str]],
    arms: Mapping[frozenset[str], str],
    seeds: Sequence[int],
    observations: Observations,
) -> OrderSample | None:
    if not orders or not seeds:
        return None
    columns = []
    for order in orders:
        before = frozenset(order[: order.index(name)])
        if not {before, before | {name}} <= set(arms):
            return None
        columns.append(_read_gains(arms[before | {name}], arms[before], seeds, observations))
    return estimate_order_sample(np.stack(columns, axis=1))
