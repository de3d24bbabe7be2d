"""What a plan says of power: unknown before runs, and the MDE of the report after them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.results.pilot import MAX_CONTRASTS, describe_power
from analysis.results.purchases import read_scores
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep, analyze_with_metrics
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS, Store


def test_before_any_run_the_mde_is_not_known(tmp_path: Path) -> None:
    plan = fake_sweep.plan(Truth(looks=DEFAULT_LOOKS))
    schedule, power = describe_power(Store(tmp_path), plan)
    assert schedule == (
        "verdicts at 5 (level 0.02), 8 (0.015) and 12 (0.015) seeds; with these seeds none: the "
        "first look needs seeds=5"
    )
    assert power.endswith("unknown until pilot seeds ran (plan pilot=3 prices them)")
    more_seeds = replace(plan, seeds=tuple(range(9)))
    assert describe_power(Store(tmp_path), more_seeds)[0].endswith("up to the look at 8")
    assert describe_power(Store(tmp_path), replace(plan, contrasts=())) == []
    other_seeds = replace(plan, seeds=(3, 4, 5, 6, 7))
    assert describe_power(Store(tmp_path), other_seeds)[0].endswith("seeds=5 (from seed 0 on)")


def test_with_pilot_seeds_it_is_the_mde_of_the_report(tmp_path: Path) -> None:
    truth = Truth(looks=DEFAULT_LOOKS, missing=(("clip", 0),))
    store, sweep_id = fake_sweep.make(tmp_path, truth)
    plan = fake_sweep.plan(truth)
    scores = read_scores(store, plan, plan.primary_metric)
    assert len(scores) == len(plan.cells) - 1
    assert ("clip", 0) not in scores
    results = analyze_sweep(store, sweep_id)
    text = describe_power(store, plan)[1]
    assert "from the spread of 3 seeds" in text
    for contrast in results.primary_contrasts:
        effect = results.effects[contrast.name]
        mde = results.get_effect_format(effect).format_mde(effect.mde)
        assert f"{contrast.label} {mde}, " in text


def test_the_co_primary_score_is_part_of_the_family(tmp_path: Path) -> None:
    """The MDE of the plan is that of the report, which corrects for both scores."""
    truth = Truth(looks=DEFAULT_LOOKS)
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "zeroshot.skin_tone", truth)
    texts = describe_power(Store(tmp_path), results.plan)[1:]
    assert len(texts) == len(results.primary_scores) == 2
    for key, text in zip(results.primary_scores, texts):
        assert f" on {key[1]} at 5, 8 and 12 seeds, from the spread of 3 seeds" in text
        for contrast in results.primary_contrasts:
            effect = results.get_effects(key)[contrast.name]
            mde = results.get_effect_format(effect, key).format_mde(effect.mde)
            assert f"{contrast.label} {mde}, " in text


def test_two_seeds_have_no_spread_to_rely_on(tmp_path: Path) -> None:
    truth = Truth(seeds=(0, 1))
    store, _ = fake_sweep.make(tmp_path, truth)
    text = describe_power(store, fake_sweep.plan(truth))[1]
    assert text.endswith("unknown: a spread takes 3 seeds, and 2 have run")


def test_the_whole_plan_states_the_mde_of_every_primary_contrast(tmp_path: Path) -> None:
    store, _ = fake_sweep.make(tmp_path, Truth())
    plan = fake_sweep.plan(Truth())
    plan = replace(plan, contrasts=tuple(replace(c, primary=True) for c in plan.contrasts))
    num_more = len(plan.contrasts) - MAX_CONTRASTS
    assert num_more > 0
    assert describe_power(store, plan)[1].endswith(f" and {num_more} more")
    text = describe_power(store, plan, whole=True)[1]
    assert "more" not in text
    assert all(f"{contrast.label} " in text for contrast in plan.contrasts)
