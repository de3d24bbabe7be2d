"""Print the tables of simulated rates; write docs/verdict_rates.md with --write."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.statistics.power import standardized_mde
from tests.simulations.boundaries import (
    compute_lan_demets_levels,
    simulate_error,
    spend_like_obrien_fleming,
    spend_like_pocock,
)
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import VERDICT_COLUMNS, FamilyRates, simulate_families
from uniclip.store import DEFAULT_LOOKS, Look

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verdict_rates.md"
MARGIN = 1.5
"""Margin of the table of rates, in standard deviations of a contrast."""
EFFECTS = (0.0, 0.5, 1.0, MARGIN, 2.0, 3.0, 4.0)
NUM_CONTRASTS = 3
EARLY_LOOKS = tuple(
    Look(num_seeds=n, level=level) for n, level in ((3, 0.01), (5, 0.015), (8, 0.025))
)
TRUTH_LOOKS = tuple(
    Look(num_seeds=n, level=level) for n, level in ((3, 0.02), (5, 0.015), (8, 0.015))
)
SCHEDULES = {"default": DEFAULT_LOOKS, "early": EARLY_LOOKS, "ablation=truth": TRUTH_LOOKS}
NOTICE = "<!-- written by python -m tests.simulations --write -->\n"


def make_generator(*parts: int) -> np.random.Generator:
    """Return the generator of one simulation."""
    return np.random.Generator(np.random.Philox(key=sum(p * 1009**i for i, p in enumerate(parts))))


def format_looks(looks: Sequence[Look]) -> str:
    """Return the seeds of a schedule with their levels."""
    return ", ".join(f"{look.num_seeds} ({look.level:g})" for look in looks)


def render_rates(families: int) -> Iterator[str]:
    """Yield the table of the rates of the four verdicts."""
    yield "| true effect | seeds | helps | hurts | practically nothing | unresolved | covered |"
    yield "|--:|--:|--:|--:|--:|--:|--:|"
    worst: list[tuple[float, FamilyRates]] = []
    for i, effect in enumerate(EFFECTS):
        effects = [effect, *[0.0] * (NUM_CONTRASTS - 1)]
        rates = simulate_families(make_generator(1, i), effects, MARGIN, DEFAULT_LOOKS, families)
        worst.append((effect, rates))
        for n in rates.words:
            columns = [str(rates.rate(n, *words)) for words in VERDICT_COLUMNS]
            coverage = Rate(rates.covered[n], families)
            yield f"| {effect:g} | {n} | {' | '.join(columns)} | {coverage} |"
    yield ""
    wrong = max(rates.wrong_signs for _, rates in worst)
    at_margin = next(rates for effect, rates in worst if effect == MARGIN)
    claims = max(rates.false_claims for _, rates in worst)
    yield f"- Ever a wrong sign, at most: {Rate(wrong, families)} %."
    yield (
        f"- An effect of exactly the margin was ever called practically nothing in "
        f"{Rate(at_margin.false_equivalences, families)} % of families."
    )
    yield (
        "- A contrast without effect was ever said to help or hurt in at most "
        f"{Rate(claims, families)} % of families."
    )


def render_errors(families: int) -> Iterator[str]:
    """Yield the table of the family error of each schedule, without any effect."""
    yield "| looks (levels) | rule | family error |"
    yield "|---|---|--:|"
    for i, (name, looks) in enumerate(SCHEDULES.items()):
        rates = simulate_families(
            make_generator(2, i), [0.0] * NUM_CONTRASTS, None, looks, families
        )
        text = f"{name}: {format_looks(looks)}"
        yield f"| {text} | verdicts | {Rate(rates.false_claims, families)} % |"
    every_seed = tuple(range(3, 13))
    for seeds in ((3, 5, 8), (5, 8, 12), every_seed):
        error = simulate_error(
            make_generator(3, len(seeds)), seeds, [0.05] * len(seeds), 10 * families,
            num_contrasts=NUM_CONTRASTS,
        )  # fmt: skip
        text = "every seed from 3 to 12" if seeds == every_seed else ", ".join(map(str, seeds))
        yield f"| {text} | 5 % at each look | {error} % |"
    for name, spend in (
        ("Pocock", spend_like_pocock),
        ("O'Brien-Fleming", spend_like_obrien_fleming),
    ):
        for seeds in ((3, 5, 8), (5, 8, 12)):
            levels = compute_lan_demets_levels(seeds, spend(np.array(seeds) / seeds[-1]), 0.05)
            error = simulate_error(make_generator(4, seeds[0]), seeds, levels, 100 * families)
            text = ", ".join(f"{n} ({level:.4f})" for n, level in zip(seeds, levels))
            yield f"| {text} | Lan-DeMets, {name}-like, one contrast | {error} % |"


def render_detection(families: int) -> Iterator[str]:
    """Yield the table of the minimum detectable effects, and how often they were detected."""
    yield "| seeds | level | MDE in SDs | detected |"
    yield "|--:|--:|--:|--:|"
    for look in (*DEFAULT_LOOKS, *TRUTH_LOOKS[:1]):
        mde = standardized_mde(look.num_seeds, look.level / NUM_CONTRASTS)
        effects = [mde, *[0.0] * (NUM_CONTRASTS - 1)]
        rates = simulate_families(
            make_generator(5, look.num_seeds), effects, None, [look], families
        )
        detected = rates.rate(look.num_seeds, "helps")
        yield f"| {look.num_seeds} | {look.level:g} | {mde:.2f} | {detected} % |"


def render_page(families: int) -> str:
    """Return the page of the documentation."""
    lines = [
        NOTICE,
        "# Rates of verdicts",
        "",
        f"`python -m tests.simulations --write` wrote this page from {families:,} simulated "
        f"families of {NUM_CONTRASTS} primary contrasts for each row.",
        "Contrasts of single seeds have normal distributions; effects and margins are in their",
        "standard deviations (SD). Verdicts come from the code that makes those of reports. In",
        "brackets: exact 95 % intervals (Clopper and Pearson). The rules are in",
        "[Statistics](statistics.md).",
        "",
        "## Verdicts by effect size",
        "",
        f"The first contrast has the effect, the other two have none. Margin: {MARGIN:g} SD; looks "
        f"(levels): {format_looks(DEFAULT_LOOKS)}. All columns in percent; covered: 95 % intervals "
        "that contain the effect.",
        "",
        *render_rates(families),
        "",
        "## Family error without any effect",
        "",
        "How often any of the contrasts is said to help or hurt at any look. The Lan-DeMets rows",
        "use boundaries for normal statistics with t tests; they exceed 5 %, which is why the",
        "levels of looks simply add up to 5 %.",
        "",
        *render_errors(families),
        "",
        "## Minimum detectable effects",
        "",
        "The effect that `plan` states for a known spread, and how often the first contrast is",
        "said to help when it has that effect; 80 % is stated.",
        "",
        *render_detection(families),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the page, and write it with --write."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulations", description=__doc__)
    parser.add_argument("--families", type=int, default=10_000, help="simulated families per row")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    page = render_page(arguments.families)
    print(page)
    if arguments.write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
