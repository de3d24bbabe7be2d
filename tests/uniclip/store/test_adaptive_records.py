"""The records of an adaptive sweep survive the store, and prices are written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import AdaptiveRule, CellPrices, Store


def test_a_plan_keeps_its_rule(tmp_path: Path) -> None:
    rule = AdaptiveRule(
        initial_seeds={"full": 4, "none": 6}, max_seeds=9, max_gpu_hours=2.5, digest="0" * 12
    )
    plan = fake_sweep.plan(Truth())
    folder = Store(tmp_path).get_sweep(plan.sweep_id)
    folder.write_plan(plan)
    stored_plan = folder.read_plan()
    assert stored_plan is not None
    assert stored_plan.adaptive is None
    folder.write_plan(replace(plan, adaptive=rule))
    stored_plan = folder.read_plan()
    assert stored_plan is not None
    assert stored_plan.adaptive == rule


def test_the_first_prices_are_kept(tmp_path: Path) -> None:
    folder = Store(tmp_path).get_sweep("s")
    assert folder.read_cell_prices() is None
    first = CellPrices(gpu_hours={"full": 1.25}, source="past runs")
    folder.fix_cell_prices(first)
    folder.fix_cell_prices(CellPrices(gpu_hours={"full": 2.0}))
    assert folder.read_cell_prices() == first
