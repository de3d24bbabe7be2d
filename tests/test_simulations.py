"""Simulations: verdicts err, and intervals cover, at the rates that are stated.

A limit counts as exceeded when the exact interval of a rate lies above it. `make soak` runs 10,000
families each; docs/verdict_rates.md has the rates of such a run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest

from analysis.statistics.effects import ALPHA
from analysis.statistics.power import standardized_mde
from analysis.statistics.verdicts import PRACTICALLY_NOTHING, UNRESOLVED
from tests.simulations import __main__ as program
from tests.simulations.boundaries import compute_lan_demets_levels, simulate_error
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import simulate_families
from uniclip.store import DEFAULT_LOOKS, Look

FAMILIES = 10_000 if os.environ.get("UNICLIP_SOAK") else 300
SEVERAL_SCHEDULES = pytest.mark.parametrize(
    "looks", program.SCHEDULES.values(), ids=program.SCHEDULES.keys()
)
pytestmark = pytest.mark.soak
pytestmark = pytest.mark.soak
MARGIN = 1.5


def test_a_rate_has_the_exact_interval() -> None:
    rate = Rate(3, 20)
    assert rate.interval == pytest.approx((0.0321, 0.3789), abs=1e-4)
    assert (rate.exceeds(0.03), rate.exceeds(0.04), rate.falls_below(0.38)) == (True, False, True)
    assert str(rate) == "15.0 [3.2, 37.9]"


@SEVERAL_SCHEDULES
def test_without_effect_a_family_errs_in_at_most_5_percent(looks: Sequence[Look]) -> None:
    """Whoever stops at any look: the verdicts of all looks count."""
    rates = simulate_families(program.make_generator(11), [0.0] * 3, None, looks, FAMILIES)
    assert not Rate(rates.false_claims, FAMILIES).exceeds(ALPHA)


def test_contrasts_without_effect_are_protected_beside_large_ones() -> None:
    effects = [5.0, 0.0, 0.0]
    rates = simulate_families(program.make_generator(12), effects, None, DEFAULT_LOOKS, FAMILIES)
    assert not Rate(rates.false_claims, FAMILIES).exceeds(ALPHA)
    assert not Rate(rates.wrong_signs, FAMILIES).exceeds(0.001)


def test_an_effect_of_the_margin_is_called_practically_nothing_in_at_most_5_percent() -> None:
    for effects in ([MARGIN, 0.0, 0.0], [MARGIN, -MARGIN, MARGIN]):
        rates = simulate_families(
            program.make_generator(13), effects, MARGIN, DEFAULT_LOOKS, FAMILIES
        )
        assert not Rate(rates.false_equivalences, FAMILIES).exceeds(ALPHA)


def test_an_inert_component_ends_practically_nothing_and_a_large_effect_helps() -> None:
    """With few seeds neither is told."""
    inert = simulate_families(
        program.make_generator(14), [0.0] * 3, MARGIN, DEFAULT_LOOKS, FAMILIES
    )
    assert not inert.rate(12, PRACTICALLY_NOTHING).falls_below(0.9)
    assert not inert.rate(5, UNRESOLVED).falls_below(0.6)
    large = simulate_families(
        program.make_generator(15), [3.0, 0.0, 0.0], MARGIN, DEFAULT_LOOKS, FAMILIES
    )
    assert not large.rate(8, "helps").falls_below(0.99)


@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_intervals_cover_in_93_to_97_percent(effect: float) -> None:
    looks = (Look(num_seeds=3, level=0.01), *DEFAULT_LOOKS[:1])
    rates = simulate_families(program.make_generator(16), [effect], None, looks, FAMILIES)
    for covered in rates.covered.values():
        assert not Rate(covered, FAMILIES).exceeds(0.97)
        assert not Rate(covered, FAMILIES).falls_below(0.93)


@pytest.mark.parametrize("look", [Look(num_seeds=3, level=0.02), *DEFAULT_LOOKS])
def test_the_stated_minimum_detectable_effect_is_detected_in_80_percent(look: Look) -> None:
    """Or slightly more: beside another significant contrast Holm's level is less strict."""
    mde = standardized_mde(look.num_seeds, look.level / 3)
    rates = simulate_families(
        program.make_generator(17, look.num_seeds), [mde, 0.0, 0.0], None, [look], FAMILIES
    )
    detected = rates.rate(look.num_seeds, "helps")
    assert not detected.falls_below(0.8)
    assert not detected.exceeds(0.82)


def test_boundaries_for_normal_statistics_do_not_hold_for_t_tests() -> None:
    """Checked against Pocock-like levels of a design that textbooks tabulate: five equal looks."""
    seeds = [1, 2, 3, 4, 5]
    shares = program.spend_like_pocock(program.np.array(seeds) / 5)
    levels = compute_lan_demets_levels(seeds, shares, 0.05)
    assert levels[0] == pytest.approx(0.05 * shares[0], rel=1e-3)
    assert ((levels > 0.014) & (levels < 0.018)).all(), "Pocock's constant level is 0.0158"
    early = (3, 5, 8)
    spent = program.spend_like_pocock(program.np.array(early) / 8)
    t_levels = compute_lan_demets_levels(early, spent, 0.05)
    g = program.make_generator(18)
    assert simulate_error(g, early, t_levels, 200_000).exceeds(0.053)
    assert not simulate_error(g, early, [0.01, 0.015, 0.025], 200_000).exceeds(0.05)
    repeated = simulate_error(g, early, [0.05] * 3, 50_000, num_contrasts=3)
    assert repeated.exceeds(0.1), "5 % at each look"


def test_the_page_is_written_by_the_program() -> None:
    page = program.PAGE.read_text(encoding="utf-8")
    assert page.startswith(program.NOTICE)
    new_page = program.render_page(2)
    pattern = r"\d[\d.,]*"
    headings = [
        line for line in new_page.splitlines() if line.startswith(("#", "| true", "| seeds"))
    ]
    assert all(heading in page for heading in headings)
    assert re.sub(pattern, "0", new_page) == re.sub(pattern, "0", page)
