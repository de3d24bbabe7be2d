"""Simulations: verdicts err, and intervals cover, at the rates that are stated.

A limit counts as exceeded when the exact interval of a rate lies above it. `make soak` simulates
10,000 sweeps each; docs/verdict_rates.md has the rates of such a run.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, variance

import numpy as np
import pytest

from ablations.schema import CONF, load_ablation
from analysis.statistics.effects import ALPHA
from analysis.statistics.verdicts import PRACTICALLY_NOTHING, UNRESOLVED
from tests.simulations import __main__ as program
from tests.simulations import coverage, dataset_means
from tests.simulations.boundaries import compute_lan_demets_levels, simulate_error
from tests.simulations.pilot_runs import PILOT, SCORES, read_pilot_spreads
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import (
    SweepModel,
    judge_by_report,
    judge_look,
    make_model,
    simulate_verdicts,
)
from uniclip.store import DEFAULT_LOOKS, Look

SWEEPS = 10_000 if os.environ.get("UNICLIP_SOAK") else 2_000
SEVERAL_SCHEDULES = pytest.mark.parametrize(
    "looks", program.SCHEDULES.values(), ids=program.SCHEDULES.keys()
)
MARGIN = program.MARGIN


def test_a_rate_has_the_exact_interval() -> None:
    rate = Rate(3, 20)
    assert rate.interval == pytest.approx((0.0321, 0.3789), abs=1e-4)
    assert (rate.exceeds(0.03), rate.exceeds(0.04), rate.falls_below(0.38)) == (True, False, True)
    assert str(rate) == "15.0 [3.2, 37.9]"


@SEVERAL_SCHEDULES
@pytest.mark.parametrize("margins", [(MARGIN, MARGIN), (MARGIN, None), (None, None)])
def test_the_verdicts_are_those_of_the_report(
    looks: Sequence[Look], margins: tuple[float | None, float | None]
) -> None:
    """Every verdict of every look, in sweeps where all words occur."""
    g = program.make_generator(30)
    effects = np.array([[0.0, 0.5, 3.0], [-3.0, 0.0, 1.5]])
    values = SweepModel(effects, margins).draw(g, looks[-1].num_seeds, 12)
    seen = set()
    for look in looks:
        words = judge_look(values, margins, look)
        for sweep, expected in zip(values[..., : look.num_seeds], words):
            found = judge_by_report(sweep, margins, looks)
            np.testing.assert_array_equal(found, expected)
            seen |= set(found.flat)
    assert {"helps", "hurts", UNRESOLVED} <= seen
    assert (PRACTICALLY_NOTHING in seen) == (margins[0] is not None)


def test_the_model_of_the_pilot_runs_is_fitted_to_them() -> None:
    """By hand, from the rows of two arms on one score."""
    pilot = read_pilot_spreads()
    with open(PILOT, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert pilot.num_runs == len(rows)
    column = SCORES["log likelihood"]
    by_arm: dict[str, dict[str, float]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], {})[row["seed"]] = float(row[column])
    full = by_arm.pop("full")
    variances = [variance([full[s] - values[s] for s in full]) for values in by_arm.values()]
    assert pilot.num_contrasts == len(variances)
    assert pilot.spreads["log likelihood"] == pytest.approx(mean(variances) ** 0.5)
    assert 0 < pilot.correlation < 1


def test_the_margins_of_the_pilot_model_are_those_of_the_ablation() -> None:
    margins = load_ablation("components", [CONF]).margins["openmoji"]
    assert list(margins.values()) == list(program.PILOT_MARGINS.values())


def test_both_scores_of_a_contrast_are_correlated() -> None:
    values = make_model(2.0, None).draw(program.make_generator(31), 4, SWEEPS)
    assert values.shape == (SWEEPS, 2, 3, 4)
    assert values.mean((0, 3))[:, 0] == pytest.approx([2.0, 2.0], abs=0.1)
    assert values.std((0, 3)) == pytest.approx(np.ones((2, 3)), abs=0.05)
    correlations = np.corrcoef(values[:, :, 1].reshape(SWEEPS, -1).T)
    assert correlations[0, 4] == pytest.approx(0.6, abs=0.06), "one seed on both scores"
    assert correlations[0, 5] == pytest.approx(0.0, abs=0.08), "different seeds"


@SEVERAL_SCHEDULES
def test_without_effect_a_sweep_errs_in_at_most_5_percent(looks: Sequence[Look]) -> None:
    """Whoever stops at any look: the verdicts of all looks count."""
    model = make_model(0.0, None)
    for correlation in (0.0, 0.6, 0.95):
        g = program.make_generator(11, round(100 * correlation))
        verdicts = simulate_verdicts(g, replace(model, correlation=correlation), looks, SWEEPS)
        assert not verdicts.count_false_claims().exceeds(ALPHA)


def test_contrasts_without_effect_are_protected_beside_large_ones() -> None:
    model = make_model(5.0, None)
    verdicts = simulate_verdicts(program.make_generator(12), model, DEFAULT_LOOKS, SWEEPS)
    assert not verdicts.count_false_claims().exceeds(ALPHA)
    assert not verdicts.count_wrong_signs().exceeds(0.001)


@SEVERAL_SCHEDULES
@pytest.mark.parametrize("name", program.list_margin_models())
def test_an_effect_of_the_margin_is_called_practically_nothing_in_at_most_5_percent(
    name: str, looks: Sequence[Look]
) -> None:
    model = program.list_margin_models()[name]
    verdicts = simulate_verdicts(program.make_generator(13), model, looks, SWEEPS)
    false_equivalences = verdicts.count_false_equivalences()
    assert false_equivalences.count > 0, "the worst case does occur"
    assert not false_equivalences.exceeds(ALPHA)


def test_an_inert_component_ends_practically_nothing_and_a_large_effect_helps() -> None:
    """With few seeds neither is told."""
    inert = simulate_verdicts(
        program.make_generator(14), make_model(0.0, MARGIN), DEFAULT_LOOKS, SWEEPS
    )
    assert not inert.rate(12, PRACTICALLY_NOTHING).falls_below(0.9)
    assert not inert.rate(5, UNRESOLVED).falls_below(0.8)
    large = simulate_verdicts(
        program.make_generator(15), make_model(3.0, MARGIN), DEFAULT_LOOKS, SWEEPS
    )
    assert not large.rate(8, "helps").falls_below(0.98)


@pytest.mark.parametrize("num_seeds", [3, 5, 8])
def test_intervals_of_effects_and_spreads_cover_in_93_to_97_percent(num_seeds: int) -> None:
    rates = [
        coverage.simulate_contrast_interval(program.make_generator(16), num_seeds, SWEEPS),
        coverage.simulate_mde_interval(program.make_generator(19), num_seeds, 0.02 / 6, SWEEPS),
    ]
    for rate in rates:
        assert not rate.exceeds(0.97)
        assert not rate.falls_below(0.93)


@pytest.mark.soak
@pytest.mark.parametrize("num_seeds", [3, 5, 8])
def test_intervals_of_test_sets_and_variances_cover(num_seeds: int) -> None:
    """Those of variances may cover more: Williams's interval is approximate."""
    for clusters in program.CLUSTERS[1:]:
        g = program.make_generator(20, clusters)
        rate = coverage.simulate_test_set_interval(g, clusters, num_seeds, SWEEPS)
        assert not rate.exceeds(0.97), clusters
        assert not rate.falls_below(0.93), clusters
    for _, rate in coverage.simulate_anatomy(program.make_generator(21), num_seeds, 3, SWEEPS):
        assert not rate.falls_below(0.93)


@pytest.mark.parametrize("look", program.MDE_LOOKS, ids=lambda look: str(look.num_seeds))
def test_the_stated_minimum_detectable_effect_is_detected_in_80_percent(look: Look) -> None:
    """Or slightly more: beside another significant contrast Holm's level is less strict.

    Stated from the spread of a few seeds, it is detected less often on average.
    """
    g = program.make_generator(17, look.num_seeds)
    detected = program.simulate_detection(g, look, SWEEPS, None)
    assert not detected.falls_below(0.8)
    assert not detected.exceeds(0.82)
    assert program.simulate_detection(g, look, SWEEPS, program.PILOT_SEEDS).falls_below(0.8)


@pytest.mark.soak
def test_boundaries_for_normal_statistics_do_not_hold_for_t_tests() -> None:
    """Checked against Pocock-like levels of a design that textbooks tabulate: five equal looks."""
    seeds = [1, 2, 3, 4, 5]
    shares = program.spend_like_pocock(np.array(seeds) / 5)
    levels = compute_lan_demets_levels(seeds, shares, 0.05)
    assert levels[0] == pytest.approx(0.05 * shares[0], rel=1e-3)
    assert ((levels > 0.014) & (levels < 0.018)).all(), "Pocock's constant level is 0.0158"
    early = (3, 5, 8)
    spent = program.spend_like_pocock(np.array(early) / 8)
    t_levels = compute_lan_demets_levels(early, spent, 0.05)
    g = program.make_generator(18)
    assert simulate_error(g, early, t_levels, 200_000).exceeds(0.053)
    assert not simulate_error(g, early, [0.01, 0.015, 0.025], 200_000).exceeds(0.05)
    repeated = simulate_error(g, early, [0.05] * 3, 50_000, num_contrasts=3)
    assert repeated.exceeds(0.1), "5 % at each look"


@pytest.mark.parametrize(
    ("num_seeds", "num_sets"),
    [(3, 14), *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((3, 3), (5, 5)))],
)
def test_the_interval_for_new_data_sets_covers(num_seeds: int, num_sets: int) -> None:
    """Also where seeds matter to all sets alike, as the intervals of meta-analyses do not."""
    sweeps = SWEEPS if SWEEPS > 2_000 else 500
    model = dataset_means.SetModel(sets=1.0, seeds=1.0)
    g = program.make_generator(22, num_seeds, num_sets)
    rates = dataset_means.simulate_set_rates(g, model, num_seeds, num_sets, sweeps)
    assert not rates.interval.falls_below(0.94)
    assert rates.der_simonian_laird.falls_below(0.9)
    assert rates.hartung_knapp.falls_below(0.95)


@pytest.mark.parametrize("seed_sd", [0.01, pytest.param(0.05, marks=pytest.mark.slow)])
def test_the_interval_for_new_items_covers_on_the_given_data_sets(seed_sd: float) -> None:
    sweeps = SWEEPS if SWEEPS > 2_000 else 300
    g = program.make_generator(23, round(100 * seed_sd))
    seeds, items = dataset_means.simulate_item_intervals(g, 3, 5, seed_sd, sweeps)
    assert not items.falls_below(0.94)
    assert not items.exceeds(0.985)
    if seed_sd < 0.05:
        assert seeds.falls_below(0.93), "seeds alone are too little"


@pytest.mark.soak
def test_the_page_is_written_by_the_program() -> None:
    page = program.PAGE.read_text(encoding="utf-8")
    assert page.startswith(program.NOTICE)
    new_page = program.render_page(2)
    pattern = r"\d[\d.,]*"
    headings = [
        line for line in new_page.splitlines() if line.startswith(("#", "| true", "| seeds |"))
    ]
    assert all(heading in page for heading in headings)
    assert re.sub(pattern, "0", new_page) == re.sub(pattern, "0", page)
