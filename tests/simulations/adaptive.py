"""Print the tables of adaptive sweeps; write docs/adaptive_rates.md with --write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.simulations.adaptive_sweeps import (
    MIXED_SIZES,
    AdaptiveModel,
    find_fixed_seeds,
    simulate_fixed_power,
    simulate_purchases,
)
from tests.simulations.page_command import run_page_command
from tests.simulations.sequential_tests import (
    FAMILY_SIZE,
    MAX_SEEDS,
    list_tests,
    simulate_stopping,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adaptive_rates.md"
NOTICE = "<!-- written by python -m tests.simulations.adaptive --write -->\n"
MARGIN = 1.5
STOPPING_EFFECTS = (0.0, 1.5, 2.0, 3.0, 5.0, 8.0)
STOPPING_SWEEPS = 4
"""Simulations of a single test, for each simulated sweep."""
ERROR_MODELS = {
    "no effect, no margin": AdaptiveModel((0.0,) * 3, None),
    "no effect": AdaptiveModel((0.0,) * 3, MARGIN),
    "no effect, 20 seeds at most": AdaptiveModel((0.0,) * 3, MARGIN, max_seeds=20),
    "all effects exactly the margin, of either sign": AdaptiveModel(
        (MARGIN, -MARGIN, MARGIN), MARGIN
    ),
    "one effect exactly the margin": AdaptiveModel((MARGIN, 0.0, 0.0), MARGIN),
    "half of the components have an effect": AdaptiveModel((0.0,) * 3, MARGIN, is_mixed=True),
}
MIXED = AdaptiveModel((0.0,) * 3, MARGIN, num_scores=1, is_mixed=True)
SAVING_MODELS = {
    "mixed, the spread is known": MIXED,
    "mixed, the spread is known to a factor of 1.5": replace(MIXED, log_spread=0.4),
    "mixed, six components, to a factor of 1.5": replace(MIXED, effects=(0.0,) * 6, log_spread=0.4),
    "effects of 0, 3 and 6": AdaptiveModel((0.0, 3.0, 6.0), MARGIN, num_scores=1),
    "no effect": AdaptiveModel((0.0,) * 3, MARGIN, num_scores=1),
    "three large effects (6)": AdaptiveModel((6.0,) * 3, MARGIN, num_scores=1),
}
MAX_SEEDS_OF_MIXED, MAX_SEEDS_OF_OTHERS = (12, 16, 20), (16,)


INTRODUCTION = f"""\
# Rates of adaptive sweeps

`python -m tests.simulations.adaptive --write` wrote this page from {{sweeps:,}} simulated sweeps
for each row. The rule is that of `seeds=adaptive` ([Adaptive seeds](adaptive_seeds.md)), and the
verdicts are those of reports. Scores are drawn: normal, paired by seed, one arm with all components
and one without each of them. Effects and margins are in standard deviations of a contrast over
seeds (SD). In brackets: exact 95 % intervals (Clopper and Pearson).

## Tests after every seed

One contrast is tested after every seed until it is found, at most {MAX_SEEDS} seeds, at the level
of Holm's strictest step for {FAMILY_SIZE} tests: the error may be {100 * 0.05 / FAMILY_SIZE:.2f} %.
For each effect: how often it was found, and the mean number of seeds. The test of adaptive sweeps
is the one from 4 seeds with joint levels: they are proportional to the square root of the number of
seeds. The t e-process is valid for any number of seeds; with few seeds it needs more of them.
"""
ERRORS = """
## Errors at any look

Three components, two scores, a margin of {margin:g} SD, from 4 to 16 seeds. A sweep counts if it
made a false claim after any round. The limit of both columns is 5 %.
"""
SAVINGS = """
## Cells against fixed seeds at equal power

Power: how many of the final verdicts are decisions, and right. Fixed seeds: the number
(interpolated) that has the same power if all arms have it and it is tested once at 5 %. Mixed: half
of the components have no effect, the others one of {low:g} to {high:g} SD either way. One score, a
margin of {margin:g} SD.

Whoever fixes the seeds has to know effects and spread to choose this number; the comparison grants
it. Where all effects are alike and known, there is less to save.
"""


def make_generator(*parts: int) -> np.random.Generator:
    """Return the generator of one simulation."""
    return np.random.Generator(np.random.Philox(key=sum(p * 1013**i for i, p in enumerate(parts))))


def render_tests(sweeps: int) -> Iterator[str]:
    """Yield the table of tests after every seed."""
    effects = " | ".join(f"{effect:g} SD" for effect in STOPPING_EFFECTS[1:])
    yield f"| test | error, % | {effects} |"
    yield f"|---|--:|{'--:|' * (len(STOPPING_EFFECTS) - 1)}"
    for test in list_tests():
        results = [
            simulate_stopping(make_generator(1, i), test, effect, STOPPING_SWEEPS * sweeps)
            for i, effect in enumerate(STOPPING_EFFECTS)
        ]
        columns = [f"{100 * r.rejected.value:.1f} %, {r.mean_seeds:.1f}" for r in results[1:]]
        yield f"| {test.label} | {results[0].rejected} | {' | '.join(columns)} |"


def render_errors(sweeps: int) -> Iterator[str]:
    """Yield the table of false claims at any look."""
    yield "| sweeps | ever a false effect, % | ever falsely practically nothing, % | cells |"
    yield "|---|--:|--:|--:|"
    for i, (text, model) in enumerate(ERROR_MODELS.items()):
        result = simulate_purchases(make_generator(2, i), model, sweeps)
        yield (
            f"| {text} | {result.false_effects} | {result.false_equivalences} "
            f"| {result.mean_cells:.1f} |"
        )


def render_savings(sweeps: int) -> Iterator[str]:
    """Yield the table of cells against fixed seeds at equal power."""
    yield "| sweeps | max_seeds | power, % | cells | fixed seeds | cells with these | saved |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for i, (text, base_model) in enumerate(SAVING_MODELS.items()):
        powers = simulate_fixed_power(make_generator(3, i), base_model, sweeps)
        for max_seeds in MAX_SEEDS_OF_MIXED if base_model.is_mixed else MAX_SEEDS_OF_OTHERS:
            model = replace(base_model, max_seeds=max_seeds)
            result = simulate_purchases(make_generator(4, i, max_seeds), model, sweeps)
            seeds = find_fixed_seeds(powers, result.power)
            fixed_cells = seeds * len(model.arms)
            yield (
                f"| {text} | {max_seeds} | {100 * result.power:.1f} | {result.mean_cells:.1f} "
                f"| {seeds:.1f} | {fixed_cells:.1f} "
                f"| {100 * (1 - result.mean_cells / fixed_cells):.0f} % |"
            )


def render_page(sweeps: int) -> str:
    """Return the page of the documentation."""
    low, high = MIXED_SIZES
    lines = [
        NOTICE,
        INTRODUCTION.format(sweeps=sweeps),
        *render_tests(sweeps),
        ERRORS.format(margin=MARGIN),
        *render_errors(sweeps),
        SAVINGS.format(margin=MARGIN, low=low, high=high),
        *render_savings(sweeps),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    run_page_command("tests.simulations.adaptive", PAGE, render_page)
