"""The plan of an adaptive sweep: margins, limits and what was started under other rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.config import stored_sweep
from sweeps.config.adaptive_seeds import (
    INITIAL_SEEDS,
    apply_margin,
    apply_settings,
    make_adaptive,
)
from sweeps.config.schema import SweepConfig
from tests.helpers.adaptive_sweep import build_full_plan
from uniclip.config.binding import bind
from uniclip.errors import UserError
from uniclip.store import AdaptiveRule, Plan, Prediction, PrimaryMetric, Store


def test_a_margin_replaces_that_of_the_ablation() -> None:
    plan = replace(
        build_full_plan().plan,
        co_primary_metric=PrimaryMetric(dataset="nothing", metric="one"),
    )
    assert apply_margin(plan, None) is plan
    assert [(m.metric, m.value) for m in apply_margin(plan, 0.2).margins] == [("zero", 0.2)]
    both = apply_margin(plan, {"one": 0.5, "zero": 0.1}).margins
    assert [(m.metric, m.value) for m in both] == [("zero", 0.1), ("one", 0.5)]
    with pytest.raises(UserError, match="margin: .*'two'"):
        apply_margin(plan, {"two": 0.1})
    with pytest.raises(UserError, match="margin of zero must be above 0, got 0"):
        apply_margin(plan, 0.0)


def test_the_hash_of_predictions_covers_margins_and_looks_of_the_settings(tmp_path: Path) -> None:
    resolved_plan = build_full_plan()
    predicted = replace(
        resolved_plan.plan,
        predictions=(Prediction(contrast="c", sign="positive", reason="r"),),
    )
    settings = [
        SweepConfig(),
        SweepConfig(margin=0.1),
        SweepConfig(margin=0.2),
        SweepConfig(seeds="adaptive", max_seeds=6),
        SweepConfig(seeds="adaptive", max_seeds=7),
    ]
    plans = [
        apply_settings(replace(resolved_plan, plan=predicted), s, Store(tmp_path)).plan
        for s in settings
    ]
    assert len({plan.predictions_digest for plan in plans}) == len(settings)
    unpredicted = apply_settings(resolved_plan, SweepConfig(margin=0.1), Store(tmp_path)).plan
    assert unpredicted.predictions_digest == ""


def test_a_null_prediction_takes_the_margin_of_the_command_line(tmp_path: Path) -> None:
    null = Prediction(contrast="c", sign="null", reason="r")
    resolved_plan = build_full_plan()
    plan = replace(resolved_plan.plan, predictions=(null,), margins=())
    resolved_plan = replace(resolved_plan, plan=plan)
    apply_settings(resolved_plan, SweepConfig(margin=0.1), Store(tmp_path))
    with pytest.raises(UserError, match="c is practically nothing needs a margin of .*margin="):
        apply_settings(resolved_plan, SweepConfig(), Store(tmp_path))


def test_max_seeds_need_adaptive_seeds() -> None:
    with pytest.raises(UserError, match="max_seeds must be at most 64"):
        bind(SweepConfig, {"seeds": "adaptive", "max_seeds": 65})
    with pytest.raises(UserError, match="max_seeds= needs seeds=adaptive"):
        SweepConfig(max_seeds=8)
    assert SweepConfig(seeds="adaptive").resolve_seeds(100) == tuple(range(100, 116))
    assert len(SweepConfig(seeds="adaptive", max_seeds=6).resolve_seeds()) == 6


def adapt(store: Store, max_seeds: int = 8) -> Plan:
    return make_adaptive(build_full_plan(), store, max_seeds=max_seeds, max_gpu_hours=None).plan


def start_runs(store: Store, plan: Plan, num_seeds: int) -> None:
    for cell in plan.cells:
        if cell.seed < num_seeds:
            run = store.get_run(cell.run_id)
            run.write_spec(build_full_plan().specs[cell.run_id])
            attempt = run.get_attempt(1)
            attempt.claim_path.parent.mkdir(parents=True, exist_ok=True)
            attempt.claim_path.write_bytes(b"{}")


def test_seeds_that_were_started_as_fixed_ones_are_the_first_round(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fixed_plan = build_full_plan().plan
    store.get_sweep(fixed_plan.sweep_id).write_plan(fixed_plan)
    start_runs(store, fixed_plan, 6)
    plan = adapt(store)
    assert plan.adaptive is not None
    assert set(plan.adaptive.initial_seeds.values()) == {6}
    assert plan.seeds == tuple(range(6))
    store.get_sweep(plan.sweep_id).write_plan(plan)
    start_runs(store, fixed_plan, 7)  # the rule is the same: what it counts as initial is kept
    again = adapt(store).adaptive
    assert again == plan.adaptive
    changed = adapt(store, max_seeds=9).adaptive
    assert changed is not None
    assert changed.digest != plan.adaptive.digest
    assert min(changed.initial_seeds.values()) >= INITIAL_SEEDS


def test_without_a_primary_contrast_or_score_there_is_nothing_to_decide(tmp_path: Path) -> None:
    store, resolved_plan = Store(tmp_path / "store"), build_full_plan()
    contrasts = tuple(replace(c, primary=False) for c in resolved_plan.plan.contrasts)
    without = replace(resolved_plan, plan=replace(resolved_plan.plan, contrasts=contrasts))
    with pytest.raises(UserError, match="decides primary contrasts, and this plan of trivial has"):
        make_adaptive(without, store, max_seeds=8, max_gpu_hours=None)
    hashes: dict[str, dict[str, str]] = {arm.name: {} for arm in resolved_plan.plan.arms}
    unscored = replace(resolved_plan, plan=replace(resolved_plan.plan, evaluation_hashes=hashes))
    with pytest.raises(UserError, match="decides on zero of nothing, which is not evaluated"):
        make_adaptive(unscored, store, max_seeds=8, max_gpu_hours=None)


def test_the_words_of_a_stored_sweep_request_its_rule() -> None:
    rule = AdaptiveRule(initial_seeds={"full": 4}, max_seeds=8, max_gpu_hours=1.5)
    plan = replace(build_full_plan().plan, adaptive=rule, overrides=("ablation=x",))
    words = ["seeds=adaptive", "max_seeds=8", "max_gpu_hours=1.5"]
    assert stored_sweep.list_seed_words(plan) == words
    assert stored_sweep.format_command(plan) == f"ablation=x {' '.join(words)}"
