"""Print the tables of simulated rates of designs; write docs/design_rates.md with --write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from analysis.results.predictions import Grade
from tests.helpers.designs import ablation
from tests.simulations.__main__ import MARGIN, make_generator
from tests.simulations.design_rates import (
    DOSES,
    FRACTION,
    FRACTION_EFFECTS,
    NUM_PREDICTIONS,
    compute_shapley_value,
    play_cooperation,
    play_fraction,
    simulate_grades,
    simulate_intervals,
    simulate_order_samples,
    simulate_page_tests,
    simulate_trends,
)
from tests.simulations.page_command import run_page_command
from uniclip.store import DEFAULT_LOOKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "design_rates.md"
NOTICE = "<!-- written by python -m tests.simulations.design_page --write -->\n"
SEEDS = (3, 5)
RISES = (0.0, 0.5, MARGIN, 3.0, -MARGIN)
EXACT, SAMPLED = "abcd", "abcdef"
ORDER_COUNTS = (8, 16, 32)


def render_fraction(sweeps: int) -> Iterator[str]:
    """Yield the coverage of each planted effect of a 2^(6-2)."""
    yield "| effect | planted | 3 seeds | 5 seeds |"
    yield "|---|--:|--:|--:|"
    rates = {
        n: simulate_intervals(
            make_generator(40, n), FRACTION, play_fraction, FRACTION_EFFECTS, n, sweeps
        )
        for n in SEEDS
    }
    for name, effect in FRACTION_EFFECTS.items():
        yield f"| {name} | {effect:g} | {' | '.join(str(rates[n][name]) for n in SEEDS)} |"


def render_exact_shapley(sweeps: int) -> Iterator[str]:
    """Yield the coverage of exact Shapley values of four components."""
    it = ablation(len(EXACT), "shapley")
    truths = {f"shapley:{n}": compute_shapley_value(n, EXACT) for n in EXACT}
    yield "| component | Shapley value | 3 seeds | 5 seeds |"
    yield "|---|--:|--:|--:|"
    rates = {
        n: simulate_intervals(make_generator(41, n), it, play_cooperation, truths, n, sweeps)
        for n in SEEDS
    }
    for name, truth in truths.items():
        columns = " | ".join(str(rates[n][name]) for n in SEEDS)
        yield f"| {name.partition(':')[2]} | {truth:.2f} | {columns} |"


def render_sampled_shapley(sweeps: int) -> Iterator[str]:
    """Yield the coverage of Shapley values from sampled orders of six components."""
    yield "| component | orders | seeds | interval (seeds) | interval (seeds and orders) |"
    yield "|---|--:|--:|--:|--:|"
    for i, name in enumerate(("b", "f")):
        for num_orders in ORDER_COUNTS:
            for n in SEEDS:
                g = make_generator(42, i, num_orders, n)
                rates = simulate_order_samples(g, SAMPLED, name, num_orders, n, sweeps)
                start = f"| {name} | {num_orders} | {n} | {rates.seeds_only}"
                yield f"{start} | {rates.seeds_and_orders} |"


def render_grades(sweeps: int) -> Iterator[str]:
    """Yield how often predictions on a trend are graded each way, by the true rise."""
    yield "| true rise | predicted | seeds | held | failed | undecided |"
    yield "|--:|---|--:|--:|--:|--:|"
    for i, rise in enumerate(RISES):
        trends, _ = simulate_trends(
            make_generator(43, i), rise, DEFAULT_LOOKS[-1].num_seeds, sweeps
        )
        for sign in ("positive", "null"):
            for look in DEFAULT_LOOKS:
                rates = simulate_grades(trends, sign, MARGIN, look)
                columns = " | ".join(str(rates[grade]) for grade in Grade)
                yield f"| {rise:g} | {sign} | {look.num_seeds} | {columns} |"


def render_page_tests(sweeps: int) -> Iterator[str]:
    """Yield how often Page's test finds a trend, by the true rise."""
    yield "| true rise | 3 seeds | 5 seeds |"
    yield "|--:|--:|--:|"
    for i, rise in enumerate(RISES):
        rates = [
            simulate_page_tests(simulate_trends(make_generator(44, i, n), rise, n, sweeps)[1])
            for n in SEEDS
        ]
        yield f"| {rise:g} | {' | '.join(map(str, rates))} |"


SECTIONS: dict[str, tuple[str, Callable[[int], Iterator[str]]]] = {
    "Effects of a fractional factorial": (
        """\
A 2^(6-2) of resolution 4, 16 arms. Planted are main effects and interactions of two that share
no contrast. How often the 95 % interval contains the planted effect, in percent.""",
        render_fraction,
    ),
    "Exact Shapley values": (
        """\
Four components, 16 arms; pairs act together, and one component hurts unless another is there. How
often the 95 % interval contains the true value, in percent.""",
        render_exact_shapley,
    ),
    "Sampled Shapley values": (
        """\
Six components; each sweep samples orders of its own. The interval for seeds alone is one for the
mean over the sampled orders, so it misses the value over all orders the more often, the more seeds
there are; that for seeds and orders is the one for the Shapley value; with 8 orders it is somewhat
too wide. Component f acts alone: its error of the orders is 0.""",
        render_sampled_shapley,
    ),
    "Grades of predictions": (
        f"""\
A dose design with doses {", ".join(f"{dose:g}" for dose in DOSES.values())} of each of
{NUM_PREDICTIONS} components, tested together at the default looks; the first one rises, the others
do not. Rises and the margin of {MARGIN:g} are in standard deviations of a trend over seeds.
"Positive" is true of a rise of at least the margin, "null" of no rise; in between either may hold.
All in percent. A true prediction fails, and a wrong one holds, in at most 5 %.""",
        render_grades,
    ),
    "Test of no trend": (
        """\
How often Page's two-sided test at 5 % finds a trend in the same designs, in percent.""",
        render_page_tests,
    ),
}
"""Title of a section -> its text, and what yields its table for a number of sweeps."""


def render_page(sweeps: int) -> str:
    """Return the page of the documentation."""
    command = "python -m tests.simulations.design_page --write"
    lines = [
        NOTICE,
        "# Rates of designs",
        "",
        f"`{command}` wrote this page from {sweeps:,} simulated sweeps for",
        "each row. Scores of runs have normal distributions with a standard deviation of 1 beyond",
        "what a seed changes in all arms alike. In brackets: exact 95 % intervals (Clopper and",
        "Pearson). The designs are in [Designs](designs.md).",
        "",
    ]
    for title, (text, render) in SECTIONS.items():
        lines += [f"## {title}", "", text, "", *render(sweeps), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    run_page_command("tests.simulations.design_page", PAGE, render_page)
