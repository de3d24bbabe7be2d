"""Seeds that an effect takes, and their price: those of the power of single tests."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from analysis.results.pilot import estimate_planned_effects
from analysis.results.purchases import read_scores
from analysis.results.seed_planning import describe_pilot, describe_seeds_for_mde
from analysis.statistics.power import compute_detection_power, compute_spread_interval
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS, Plan, Store

SEEDS = range(3)
TRUTH = Truth(seeds=tuple(SEEDS), looks=DEFAULT_LOOKS)


def describe(store: Store, plan: Plan, mde: float) -> str:
    seconds = {arm.name: 1800.0 for arm in plan.arms}
    (line,) = describe_seeds_for_mde(store, plan, plan, mde, seconds, 2)
    return line


def test_the_price_of_pilot_seeds() -> None:
    plan = fake_sweep.plan(TRUTH)
    num_cells = 3 * len(plan.arms)
    seconds = {arm.name: 1800.0 for arm in plan.arms}
    assert f"{num_cells} cells, {num_cells:.2g} GPU-hours;" in describe_pilot(plan, 3, seconds, 2)
    assert f", {num_cells / 2:.2g} worker hours;" in describe_pilot(plan, 3, seconds, 0)
    assert "cost not measured" in describe_pilot(plan, 3, {}, 0)
    assert describe_pilot(plan, 2, {}, 0).endswith("; a minimum detectable effect takes 3")


def test_they_are_the_fewest_that_detect_the_effect_with_the_largest_spread(
    tmp_path: Path,
) -> None:
    store, _ = fake_sweep.make(tmp_path, TRUTH)
    plan = fake_sweep.plan(TRUTH)
    metric = plan.primary_metric
    scores = {metric: read_scores(store, plan, metric)}
    by_name = estimate_planned_effects(plan, scores)[metric.dataset, metric.metric]
    effects = [by_name[contrast.name] for contrast in plan.contrasts if contrast.primary]
    spreads = [effect.spread or 0.0 for effect in effects]
    intervals = [compute_spread_interval(spread, len(SEEDS) - 1) for spread in spreads]
    bounds = max(low for low, _ in intervals), max(spreads), max(high for _, high in intervals)
    mde = max(spreads)
    line = describe(store, plan, mde)
    counts = re.search(r": (\d+) seeds \((\d+) to (\d+)\) for every primary contrast, ", line)
    assert counts is not None
    expected, low, high = map(int, counts.groups())
    for count, spread in zip((low, expected, high), bounds):
        if count in (5, 8):
            continue  # a look, which may have more seeds than needed
        level = DEFAULT_LOOKS[-1].level / len(effects)
        assert compute_detection_power(count, level, mde / spread) >= 0.8
        if count != 12:
            assert compute_detection_power(count - 1, level, mde / spread) < 0.8
    assert expected > 12
    assert f", {expected * len(plan.arms):.2g} GPU-hours; from the spread of 3 seeds" in line
    assert "more than 1000" in describe(store, plan, mde / 100)
    assert describe(store, plan, 100 * mde).split(": ")[1].startswith("5 seeds (5 to ")


def test_contrasts_without_runs_are_not_promised_anything(tmp_path: Path) -> None:
    missing = tuple(("clip", seed) for seed in SEEDS)
    store, _ = fake_sweep.make(tmp_path, replace(TRUTH, missing=missing))
    plan = fake_sweep.plan(TRUTH)
    contrasts = tuple(replace(c, primary=c.kind in ("main", "difference")) for c in plan.contrasts)
    primary = [contrast for contrast in contrasts if contrast.primary]
    known = [contrast for contrast in primary if "clip" not in contrast.weights]
    line = describe(store, replace(plan, contrasts=contrasts), 0.01)
    assert len(known) == len(primary) - 1
    assert f"for {len(known)} of {len(primary)} primary contrasts, the others" in line
