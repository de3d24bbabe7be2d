"""Rates of designs: whether planted effects are within their intervals, and predictions graded.

Scores of arms are drawn around a known function of the components; contrasts, intervals and grades
are those of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ablations import designs
from ablations.designs.doses import compute_trend_weights
from ablations.schema import Ablation
from analysis.results.predictions import Grade, grade
from analysis.statistics.dose_trends import compute_page_p
from analysis.statistics.effects import ALPHA, paired_t
from analysis.statistics.order_samples import estimate_order_sample
from analysis.statistics.verdicts import Verdict
from tests.helpers.designs import ablation, contrasts
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import judge_look
from uniclip.store import Contrast, Look

Floats = NDArray[np.float64]
Game = Callable[[frozenset[str]], float]
"""Components that are on -> expected score, in standard deviations of one run."""
SEED_SPREAD = 3.0
"""Standard deviation of what a seed changes in all arms alike."""
DOSES = {"no-a": 0.0, "a-at-0.25": 0.25, "a-at-0.5": 0.5, "full": 1.0}
"""Arms of the simulated dose design."""
NUM_PREDICTIONS = 3
"""Primary contrasts of a sweep with predictions."""
VERDICT_SIGNS = {"helps": 1, "hurts": -1}


def draw_runs(g: np.random.Generator, means: Floats, num_seeds: int, sweeps: int) -> Floats:
    """Return scores (sweeps, arms, seeds): the means (arms,), a shift of each seed, and noise."""
    seed_shifts = SEED_SPREAD * g.normal(size=(sweeps, 1, num_seeds))
    noise = g.normal(size=(sweeps, len(means), num_seeds))
    return np.asarray(means[None, :, None] + seed_shifts + noise)


def compute_means(it: Ablation, game: Game) -> Floats:
    """Return the expected score of each arm of a design."""
    names = set(it.components)
    arms = designs.build_arms(it).values()
    return np.array([game(frozenset(names - set(arm.components_off))) for arm in arms])


def simulate_intervals(
    g: np.random.Generator,
    it: Ablation,
    game: Game,
    truths: Mapping[str, float],
    num_seeds: int,
    sweeps: int,
) -> dict[str, Rate]:
    """Return contrast -> how often its interval contains its true value.

    truths: contrast -> true value.
    """
    arms = list(designs.build_arms(it))
    runs = draw_runs(g, compute_means(it, game), num_seeds, sweeps)
    found = contrasts(it)
    rates = {}
    for name, truth in truths.items():
        values = weigh(found[name], arms, runs)
        mean, half_width, _, _ = paired_t(values)
        rates[name] = Rate(int((np.abs(mean - truth) <= half_width).sum()), sweeps)
    return rates


def weigh(contrast: Contrast, arms: Sequence[str], runs: Floats) -> Floats:
    """Return a contrast (sweeps, seeds) of scores (sweeps, arms, seeds)."""
    weights = np.array([contrast.weights.get(arm, 0.0) for arm in arms])
    return np.einsum("a,sak->sk", weights, runs)


FRACTION = ablation(6, "fractional")
"""A 2^(6-2) of resolution 4."""
FRACTION_EFFECTS = {
    **{f"main:{n}": effect for n, effect in zip("abcdef", (1.0, -0.5, 0.25, 0.0, 2.0, -1.5))},
    "interaction:a*b": 0.8,
    "interaction:a*d": -0.6,
    "interaction:b*f": 0.0,
}
"""Planted effects; the interactions are of different contrasts, so none is aliased with another."""


def play_fraction(on: frozenset[str]) -> float:
    """Return the expected score: half of each planted effect times its signs."""
    score = 0.0
    for name, effect in FRACTION_EFFECTS.items():
        signs = [1 if n in on else -1 for n in name.partition(":")[2].split("*")]
        score += effect / 2 * float(np.prod(signs))
    return score


def play_cooperation(on: frozenset[str]) -> float:
    """Return the expected score of a game of up to eight components, in which pairs and a triple
    act together, and one component hurts unless another is there."""
    score = sum(0.3 * (i + 1) for i, n in enumerate("abcdefgh") if n in on)
    score += 2.0 * ({"a", "b"} <= on) - 1.5 * ("c" in on and "d" not in on)
    return score + 2.5 * ({"b", "d", "e"} <= on)


@cache
def compute_shapley_value(name: str, components: str) -> float:
    """Return the true Shapley value in `play_cooperation`, by its definition."""
    others, k = [n for n in components if n != name], len(components)
    value = 0.0
    for size in range(k):
        share = factorial(size) * factorial(k - size - 1) / factorial(k)
        for before in map(frozenset, combinations(others, size)):
            value += share * (play_cooperation(before | {name}) - play_cooperation(before))
    return value


@dataclass(frozen=True)
class OrderRates:
    """How often intervals of a sampled Shapley value contain the true one."""

    seeds_only: Rate
    """The interval of the contrast, which is for the sampled orders."""
    seeds_and_orders: Rate


def simulate_order_samples(
    g: np.random.Generator,
    components: str,
    name: str,
    num_orders: int,
    num_seeds: int,
    sweeps: int,
) -> OrderRates:
    """Return the coverage of one component's sampled Shapley value; each sweep has new orders."""
    subsets = [
        frozenset(s) for n in range(len(components) + 1) for s in combinations(components, n)
    ]
    index = {subset: i for i, subset in enumerate(subsets)}
    means = np.array([play_cooperation(subset) for subset in subsets])
    truth, covered, covered_by_both = compute_shapley_value(name, components), 0, 0
    for _ in range(sweeps):
        runs = draw_runs(g, means, num_seeds, 1)[0]
        orders = draw_orders(g, components, num_orders)
        gains = _collect_gains(name, orders, index, runs)
        mean, half_width, _, _ = paired_t(gains.mean(1))
        covered += bool(abs(mean - truth) <= half_width)
        sample = estimate_order_sample(gains)
        assert sample is not None
        assert sample.low is not None
        assert sample.high is not None
        covered_by_both += sample.low <= truth <= sample.high
    return OrderRates(Rate(covered, sweeps), Rate(covered_by_both, sweeps))


def draw_orders(g: np.random.Generator, components: str, num_orders: int) -> list[tuple[str, ...]]:
    """Return distinct orders, each followed by its reverse."""
    orders: dict[tuple[str, ...], None] = {}
    while len(orders) < num_orders:
        order = tuple(g.permutation(list(components)).tolist())
        orders |= {order: None, order[::-1]: None}
    return list(orders)


def _collect_gains(
    name: str,
    orders: Sequence[Sequence[str]],
    index: Mapping[frozenset[str], int],
    runs: Floats,
) -> Floats:
    """Return (seeds, orders) what the component adds in each order."""
    columns = []
    for order in orders:
        before = frozenset(order[: order.index(name)])
        columns.append(runs[index[before | {name}]] - runs[index[before]])
    return np.stack(columns, axis=1)


def simulate_trends(
    g: np.random.Generator, rise: float, num_seeds: int, sweeps: int
) -> tuple[Floats, Floats]:
    """Return trends (sweeps, contrasts, seeds), of which the first rises, and its dose scores.

    rise: change from off to on of the first component, in standard deviations of its trend over
        seeds; the others have none.
    """
    weights = np.array(list(compute_trend_weights(DOSES).values()))
    spread = float(np.sqrt((weights**2).sum()))
    doses = np.array(list(DOSES.values()))
    trends, first = [], None
    for i in range(NUM_PREDICTIONS):
        means = rise * spread * doses if i == 0 else np.zeros_like(doses)
        runs = draw_runs(g, means, num_seeds, sweeps)
        first = runs if first is None else first
        trends.append(np.einsum("a,sak->sk", weights, runs) / spread)
    assert first is not None
    return np.stack(trends, axis=1), first


def simulate_grades(trends: Floats, sign: str, margin: float, look: Look) -> dict[Grade, Rate]:
    """Return how often a prediction on the first trend has each grade at a look."""
    words = judge_look(trends[:, None], (margin,), look)[:, 0, 0]
    graded = {
        word: grade(sign, Verdict(word=str(word), sign=VERDICT_SIGNS.get(str(word), 0)))
        for word in np.unique(words)
    }
    sweeps = len(words)
    return {
        g: Rate(int(sum((words == word).sum() for word, x in graded.items() if x is g)), sweeps)
        for g in Grade
    }


def simulate_page_tests(scores: Floats) -> Rate:
    """Return how often Page's test finds a trend in scores (sweeps, doses, seeds).

    Its p-value depends on the statistic alone, so it is computed once for each value of it.
    """
    ranks = stats.rankdata(scores, axis=1)
    statistics = np.einsum("d,sdk->s", np.arange(1, scores.shape[1] + 1), ranks)
    p_values = {}
    for statistic, i in zip(*np.unique(statistics, return_index=True)):
        p_values[statistic] = compute_page_p(scores[i].T)
    count = sum((p_values[s] or 1.0) < ALPHA for s in statistics)
    return Rate(int(count), len(scores))
