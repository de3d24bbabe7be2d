"""The purchases of an adaptive sweep, from the scores in its store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.results.purchases import build_purchase_rule, describe_end, read_purchases
from analysis.statistics.sequential_t import build_sequential_looks
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import AdaptiveRule, CellPrices, Plan, Store

LOOKS = build_sequential_looks(4, 6)
TRUTH = Truth(seeds=tuple(range(6)), looks=LOOKS, margin=0.02, diverged=(("clip", 1),))


def make_plan(max_gpu_hours: float | None = None) -> Plan:
    plan = fake_sweep.plan(TRUTH)
    rule = AdaptiveRule(
        initial_seeds={arm.name: 4 for arm in plan.arms}, max_seeds=6, max_gpu_hours=max_gpu_hours
    )
    return replace(plan, adaptive=rule)


def test_they_use_the_effects_of_the_report(tmp_path: Path) -> None:
    store, sweep_id = fake_sweep.make(tmp_path, TRUTH)
    plan = make_plan()
    purchases = read_purchases(store, plan)
    assert len(purchases.rounds[0]) == 4 * len(plan.arms)
    bought = set(purchases.cells)
    cells = tuple(c for c in plan.cells if (c.arm, c.seed) in bought)
    store.get_sweep(sweep_id).write_plan(replace(plan, cells=cells))
    results = analyze_sweep(store, sweep_id)
    assert purchases.effects
    every_cell = replace(plan, cells=cells)
    assert describe_end(store, every_cell) == "adaptive seeds: every primary contrast is decided"
    unfinished = tuple(c for c in cells if c.seed < 3)
    assert describe_end(store, replace(plan, cells=unfinished)).endswith("cells have no result")
    effects = purchases.effects[-1][results.primary_score]
    for contrast in results.primary_contrasts:
        reported = results.effects[contrast.name]
        assert effects[contrast.name].values == reported.values
        assert effects[contrast.name].look == reported.look
        assert reported.num_missing == 0


def test_without_prices_a_limit_allows_the_first_round_alone(tmp_path: Path) -> None:
    store, sweep_id = fake_sweep.make(tmp_path, TRUTH)
    plan = make_plan(max_gpu_hours=500.0)
    purchases = read_purchases(store, plan)
    assert (len(purchases.rounds), purchases.stop_reason) == (1, None)
    prices = CellPrices(gpu_hours={arm.name: 0.1 for arm in plan.arms})
    store.get_sweep(sweep_id).fix_cell_prices(prices)
    assert build_purchase_rule(store, plan).prices == prices.gpu_hours
    assert read_purchases(store, plan).stop_reason is not None


def test_nothing_is_decided_before_the_first_round_has_finished(tmp_path: Path) -> None:
    purchases = read_purchases(Store(tmp_path), make_plan())
    assert len(purchases.rounds) == 1
    assert not purchases.effects
