"""Adaptive sweeps err at most at the stated rates at every look, and save cells.

`make soak` simulates 10,000 sweeps each; docs/adaptive_rates.md has the rates of such a run.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from analysis.statistics.effects import ALPHA
from analysis.statistics.verdicts import PRACTICALLY_NOTHING
from tests.simulations import adaptive as program
from tests.simulations.adaptive_sweeps import (
    AdaptiveModel,
    find_fixed_seeds,
    find_right_words,
    judge_rounds,
    replay_sweep,
    simulate_fixed_power,
    simulate_purchases,
)
from tests.simulations.sequential_tests import LEVEL, list_tests, simulate_stopping

SWEEPS = 10_000 if os.environ.get("UNICLIP_SOAK") else 1_000


@pytest.mark.parametrize(
    "model",
    [
        AdaptiveModel((0.0, 2.0, 5.0), 1.5),
        AdaptiveModel((0.0, 1.5), None, num_scores=1, max_seeds=6),
    ],
)
def test_simulated_sweeps_are_those_of_the_product(model: AdaptiveModel) -> None:
    simulated = simulate_purchases(program.make_generator(7), model, 4)
    values, effects = model.draw(program.make_generator(7), 4, model.max_seeds)
    for i, table in enumerate(values):
        purchases = replay_sweep(model, table)
        words = judge_rounds(model, purchases)
        assert len(purchases.cells) == simulated.num_cells[i]
        right = find_right_words(words[-1], effects[i], model.margin)
        assert (right == simulated.is_right[i]).all()
        null = effects[i] == 0
        claims = (words[..., null] != PRACTICALLY_NOTHING) & (words[..., null] != "unresolved")
        assert claims.any() <= simulated.has_false_effect[i]


@pytest.mark.parametrize("name", program.ERROR_MODELS)
def test_a_sweep_errs_in_at_most_5_percent_at_any_look(name: str) -> None:
    result = simulate_purchases(program.make_generator(9), program.ERROR_MODELS[name], SWEEPS)
    assert not result.false_effects.exceeds(ALPHA)
    assert not result.false_equivalences.exceeds(ALPHA)


def test_mixed_sweeps_need_fewer_cells_than_fixed_seeds_of_equal_power() -> None:
    model = replace(program.MIXED, log_spread=0.4)
    powers = simulate_fixed_power(program.make_generator(10), model, 4 * SWEEPS)
    result = simulate_purchases(program.make_generator(11), model, 4 * SWEEPS)
    fixed_cells = find_fixed_seeds(powers, result.power) * len(model.arms)
    assert result.mean_cells < 0.75 * fixed_cells


def test_no_test_after_every_seed_exceeds_its_level() -> None:
    for i, test in enumerate(list_tests()):
        result = simulate_stopping(program.make_generator(12, i), test, 0.0, 10 * SWEEPS)
        assert not result.rejected.exceeds(LEVEL), test.label
