"""How sure one can be of a contrast of arms: paired by seed, and never surer than the seeds allow.

A contrast is a weighted sum of arms (Plan.contrasts). Its value is taken seed by seed, over the
seeds that all of its arms completed, so whatever a seed does to every arm alike cancels. Two seeds
give dots; three or more a paired t interval (Student, 1908) with the spread of this contrast
alone. Holm (1979) guards the family of primary contrasts. A spread is never taken to be smaller
than the grain of the score (1 / test samples): equal differences are no proof of no spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
POWER = 0.8
ENOUGH = 3
"""Seeds from which on there is an interval."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """One score, as far as it was observed."""

    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[int, float]]
    """Arm -> seed -> value, for the runs that have one."""
    diverged: frozenset[tuple[str, int]] = frozenset()
    """(arm, seed) of runs that diverged."""
    chance: float | None = None
    """What guessing scores; a diverged run takes it in the worst case."""
    grain: float = 0.0
    """The smallest step of the score: 1 / test samples; 0 = continuous."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a contrast came to."""

    seeds: tuple[int, ...]
    """The seeds that all of its arms completed."""
    values: tuple[float, ...]
    """The contrast, seed by seed."""
    mean: float | None
    low: float | None = None
    high: float | None = None
    """95 % interval of this contrast alone; None below three seeds."""
    p: float | None = None
    """Two-sided p value of "no effect", for this contrast alone."""
    holm: float | None = None
    """The same after Holm's correction over the primary contrasts; None outside of them."""
    detectable: float | None = None
    """The smallest effect found with a power of 80 % by these seeds."""
    ratio: float | None = None
    """Variance of the paired contrast / of the same contrast unpaired: below 1, pairing helps."""
    diverged: int = 0
    """Seeds lost because an arm diverged."""
    missing: int = 0
    """Seeds lost because an arm is not there (yet)."""
    worst: float | None = None
    """Mean when diverged runs take the chance value; None if none diverged or chance is unknown."""

    @property
    def exact(self) -> bool:
        """Whether the contrast is 0 to the last bit in every seed: nothing to test."""
        return bool(self.values) and not any(self.values)

    @property
    def significance(self) -> float | None:
        """The p value on which the verdict rests."""
        return self.p if self.holm is None else self.holm

    @property
    def sign(self) -> int | None:
        """+1 or -1 if an effect may be claimed, 0 if not, None if it cannot be judged."""
        if self.exact:
            return 0
        if self.significance is None or self.mean is None:
            return None
        return int(math.copysign(1, self.mean)) if self.significance < ALPHA else 0


def paired_t(values: Floats, *, grain: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, half width of the 95 % interval, two-sided p and spread of `values` (..., n), n >= 2.

    `grain`: a lower bound of the spread (standard deviation, n - 1).
    """
    n = values.shape[-1]
    mean = values.mean(-1)
    spread = np.maximum(values.std(-1, ddof=1), grain)
    error = spread / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    half = special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * error
    return mean, half, 2 * special.stdtr(n - 1, -t), spread


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (values above 1 are cut to 1)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    adjusted, highest = [1.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = highest
    return adjusted


@lru_cache(maxsize=256)
def detectable_ratio(n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest effect, in standard deviations, that a paired t of `n` seeds finds at `power`."""
    df = n - 1
    limit = float(special.stdtrit(df, 1 - alpha / 2))
    # Power is the noncentral t's tails, integrated over the spread's own distribution by quadrature
    # (scipy.stats.nct gives NaN for few degrees of freedom and strict levels).
    nodes, weights = np.polynomial.legendre.leggauss(256)
    spread = np.sqrt(special.chdtri(df, (1 - nodes) / 2) / df)

    def shortfall(ncp: float) -> float:
        tails = special.ndtr(ncp - limit * spread) + special.ndtr(-ncp - limit * spread)
        return float(weights @ tails) / 2 - power

    high = 1.0
    while shortfall(high) < 0:
        high *= 2
    return float(optimize.brentq(shortfall, 0.0, high)) / math.sqrt(n)


def contrast_value(weights: Mapping[str, float], at: Mapping[str, float]) -> float:
    """The weighted sum of arms, rounded once: arms that cancel give 0 to the last bit."""
    return math.fsum(w * at[arm] for arm, w in weights.items())


def variance_ratio(
    weights: Mapping[str, float], observed: Observed, seeds: Sequence[int]
) -> float | None:
    """Variance over `seeds` of the paired contrast / of independent arms; None without spread."""
    if len(seeds) < 2:
        return None
    table = np.array([[observed.values[arm][s] for s in seeds] for arm in weights])
    w = np.array(list(weights.values()))
    unpaired = float((w**2 * table.var(1, ddof=1)).sum())
    return float((w @ table).var(ddof=1)) / unpaired if unpaired > 0 else None


def effect(weights: Mapping[str, float], observed: Observed, *, alpha: float = ALPHA) -> Effect:
    """What the contrast with these arm `weights` came to; `alpha` is the level of `detectable`."""
    complete, diverged, missing = _fates(weights, observed)
    values = [
        contrast_value(weights, {a: observed.values[a][s] for a in weights}) for s in complete
    ]
    found = Effect(
        seeds=tuple(complete),
        values=tuple(values),
        mean=math.fsum(values) / len(values) if values else None,
        ratio=variance_ratio(weights, observed, complete),
        diverged=len(diverged),
        missing=len(missing),
        worst=_worst(weights, observed, [*complete, *diverged]) if diverged else None,
    )
    if len(values) < ENOUGH or found.exact:
        return found
    grain = observed.grain * math.sqrt(sum(w * w for w in weights.values()) / 12)
    mean, half, p, spread = (float(x) for x in paired_t(np.array(values), grain=grain))
    detectable = detectable_ratio(len(values), alpha) * spread
    return replace(found, low=mean - half, high=mean + half, p=p, detectable=detectable)


def family(contrasts: Sequence[Mapping[str, float]], observed: Observed) -> list[Effect]:
    """The effects of the primary contrasts, with Holm's correction over all that were declared.

    A contrast that cannot be tested (yet) counts with p = 1: results that come in later never turn
    a claim into a stronger one by having been absent. `detectable` is at Holm's strictest level.
    """
    level = ALPHA / max(1, len(contrasts))
    found = [effect(w, observed, alpha=level) for w in contrasts]
    adjusted = holm([1.0 if e.p is None else e.p for e in found])
    return [e if e.p is None else replace(e, holm=a) for e, a in zip(found, adjusted)]


def indistinguishable(observed: Observed, arms: Sequence[str]) -> set[str]:
    """The arms that cannot be told from the best mean (paired t, Holm); empty = no claim.

    Empty when fewer than two arms have three seeds, when no arm can be told from the best (then the
    mark would say nothing), and an arm with fewer than three seeds beside the best is never in it.
    """
    enough = [a for a in arms if len(observed.values.get(a, {})) >= ENOUGH]
    if len(enough) < 2:
        return set()
    best = max(
        enough, key=lambda a: math.fsum(observed.values[a].values()) / len(observed.values[a])
    )
    rivals = [(a, effect({best: 1.0, a: -1.0}, observed)) for a in enough if a != best]
    judged = [(a, 1.0 if e.exact else e.p) for a, e in rivals if e.exact or e.p is not None]
    adjusted = holm([p for _, p in judged if p is not None])
    level = {best} | {a for (a, _), p in zip(judged, adjusted) if p >= ALPHA}
    return set() if len(level) == len(enough) else level


def item_error(
    weights: Mapping[str, float], outcomes: Mapping[str, Mapping[int, Floats]]
) -> float | None:
    """Standard error that the choice of test items alone gives the mean contrast.

    `outcomes`: arm -> seed -> (n,) values of the test samples, their mean the score. Paired twice:
    by sample and by seed (the same test items serve every seed, so seeds are averaged first). None
    where an arm has none, or the numbers of samples differ.
    """
    if not all(arm in outcomes for arm in weights):
        return None
    seeds = set.intersection(*(set(outcomes[arm]) for arm in weights))
    if not seeds or len({len(outcomes[a][s]) for a in weights for s in seeds}) != 1:
        return None
    per_seed = [sum(w * outcomes[a][s] for a, w in weights.items()) for s in sorted(seeds)]
    items = np.mean(np.stack(per_seed), 0)
    return float(items.std(ddof=1) / math.sqrt(len(items))) if len(items) > 1 else None


def _fates(
    weights: Mapping[str, float], observed: Observed
) -> tuple[list[int], list[int], list[int]]:
    """The seeds that all arms completed; that some arm lost by diverging; that some arm lacks."""
    complete, diverged, missing = [], [], []
    for seed in observed.seeds:
        lacking = [a for a in weights if seed not in observed.values.get(a, {})]
        if not lacking:
            complete.append(seed)
        elif all((a, seed) in observed.diverged for a in lacking):
            diverged.append(seed)
        else:
            missing.append(seed)
    return complete, diverged, missing


def _worst(weights: Mapping[str, float], observed: Observed, seeds: Sequence[int]) -> float | None:
    chance = observed.chance
    if chance is None:
        return None
    filled = [{a: observed.values.get(a, {}).get(s, chance) for a in weights} for s in seeds]
    return math.fsum(contrast_value(weights, at) for at in filled) / len(seeds)
