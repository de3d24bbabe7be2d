"""Purchases: the next cells are a function of the rule and the finished scores."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.purchases import (
    CellKey,
    PurchaseRule,
    Purchases,
    StopReason,
    replay_purchases,
)
from analysis.statistics.verdicts import PrimaryScore
from tests.analysis.statistics.test_effects import make_rng
from tests.simulations.adaptive_sweeps import AdaptiveModel, make_scores

MODEL = AdaptiveModel((0.0, 4.0, 9.0), margin=2.5, num_scores=2, max_seeds=14)
ALL_CELLS = {(arm, seed) for arm in MODEL.arms for seed in range(MODEL.max_seeds)}


def draw_scores(model: AdaptiveModel = MODEL, key: int = 1) -> list[PrimaryScore]:
    values, _ = model.draw(make_rng(40 + key), 1, model.max_seeds)
    return make_scores(values[0], model)


def run_in_random_order(
    rule: PurchaseRule, scores: list[PrimaryScore], chance: random.Random
) -> Purchases:
    """Finish some cells after others in any order, asking anew after them, as after a kill."""
    finished: set[CellKey] = set()
    while True:
        purchases = replay_purchases(rule, scores, finished)
        open_cells = [cell for cell in purchases.cells if cell not in finished]
        if not open_cells:
            return purchases
        finished |= set(chance.sample(open_cells, chance.randint(1, len(open_cells))))


def test_the_order_in_which_cells_finish_changes_nothing() -> None:
    scores = draw_scores()
    purchases = replay_purchases(MODEL.rule, scores, ALL_CELLS)
    assert purchases.stop_reason is StopReason.DECIDED
    assert not purchases.undecided
    for key in range(3):
        assert run_in_random_order(MODEL.rule, scores, random.Random(key)) == purchases


def test_scores_of_cells_that_were_not_bought_are_not_looked_at() -> None:
    scores = draw_scores()
    purchases = replay_purchases(MODEL.rule, scores, ALL_CELLS)
    bought = set(purchases.cells)
    assert bought < ALL_CELLS
    changed = []
    for score in scores:
        values = {
            arm: {s: v if (arm, s) in bought else 1e6 for s, v in by_seed.items()}
            for arm, by_seed in score.observations.values.items()
        }
        changed.append(replace(score, observations=replace(score.observations, values=values)))
    assert replay_purchases(MODEL.rule, changed, ALL_CELLS).rounds == purchases.rounds


def test_rounds_are_paired_and_only_for_what_is_undecided() -> None:
    purchases = replay_purchases(MODEL.rule, draw_scores(), ALL_CELLS)
    first, *later = purchases.rounds
    assert first == tuple((arm, seed) for seed in range(4) for arm in MODEL.arms)
    counts = dict.fromkeys(MODEL.arms, 4)
    for cells in later:
        for arm, seed in cells:
            assert seed == counts[arm], "the seeds of an arm have no gap"
            counts[arm] += 1
        assert "full" in dict(cells)
        assert len(cells) >= 2
    assert counts["off2"] == 4 < max(counts["off0"], counts["off1"]) == counts["full"]


def test_without_a_margin_what_has_no_effect_comes_to_max_seeds() -> None:
    model = replace(MODEL, effects=(0.0, 8.0), margin=None, max_seeds=6)
    purchases = replay_purchases(
        model.rule, draw_scores(model), {(a, s) for a in model.arms for s in range(6)}
    )
    assert purchases.stop_reason is StopReason.MAX_SEEDS
    assert purchases.undecided == ("off0",)
    assert {seed for arm, seed in purchases.cells if arm == "off0"} == set(range(6))


@pytest.mark.parametrize("limit", [16.0, 17.9, 18.0, 21.0, 25.0])
def test_the_gpu_hours_are_never_exceeded(limit: float) -> None:
    rule = replace(MODEL.rule, rule=replace(MODEL.rule.rule, max_gpu_hours=limit))
    purchases = replay_purchases(rule, draw_scores(), ALL_CELLS)
    assert rule.price(purchases.cells) <= limit
    assert purchases.stop_reason in (StopReason.MAX_GPU_HOURS, StopReason.DECIDED)
    if limit < 18:  # a paired seed costs two
        assert len(purchases.rounds) == 1


@pytest.mark.parametrize("limit", [16.0, 17.0, 18.0, 19.0, 20.0, 21.0])
def test_seeds_that_diverged_do_not_exceed_the_gpu_hours(limit: float) -> None:
    """A contrast with fewer values than seeds is decided after its next seed at the earliest."""
    scores = []
    for score in draw_scores():
        values = {arm: dict(v) for arm, v in score.observations.values.items()}
        del values["off0"][2], values["off1"][1]
        diverged = frozenset({("off0", 2), ("off1", 1)})
        observations = replace(score.observations, values=values, diverged_cells=diverged)
        scores.append(replace(score, observations=observations, margin=8.0))
    rule = replace(MODEL.rule, rule=replace(MODEL.rule.rule, max_gpu_hours=limit))
    assert rule.price(replay_purchases(rule, scores, ALL_CELLS).cells) <= limit


def test_with_few_hours_the_cheapest_decision_comes_first() -> None:
    model = AdaptiveModel((0.2, 3.0), margin=1.5, num_scores=1, max_seeds=16)
    values = np.zeros((1, 3, 16))
    noise = np.array([0.3, -0.9, 1.1, -0.5] * 4)  # the same for both contrasts
    values[0, 1], values[0, 2] = -0.2 - noise, -3.0 - noise
    scores = make_scores(values[0][None], model)
    cells = {(arm, seed) for arm in model.arms for seed in range(16)}
    rule = replace(model.rule, rule=replace(model.rule.rule, max_gpu_hours=14.0))
    purchases = replay_purchases(rule, scores, cells)
    assert set(purchases.rounds[1]) == {("full", 4), ("off1", 4)}
    dear = replace(rule, prices={"full": 1.0, "off0": 0.01, "off1": 30.0})
    dear = replace(dear, rule=replace(dear.rule, max_gpu_hours=150.0))
    assert {arm for arm, _ in replay_purchases(dear, scores, cells).rounds[1]} == {"full", "off0"}


def test_a_seed_that_diverged_counts_and_an_arm_that_diverges_always_is_given_up() -> None:
    scores = []
    for score in draw_scores():
        observations = score.observations
        values = {arm: dict(by_seed) for arm, by_seed in observations.values.items()}
        values["off0"] = {}
        del values["off1"][2]
        diverged = frozenset({("off1", 2), *(("off0", s) for s in range(MODEL.max_seeds))})
        observations = replace(observations, values=values, diverged_cells=diverged)
        scores.append(replace(score, observations=observations))
    purchases = replay_purchases(MODEL.rule, scores, ALL_CELLS)
    assert purchases.stop_reason is not None
    assert sum(arm == "off0" for arm, _ in purchases.cells) == 4


@pytest.mark.parametrize("num_initial", [1, 3, 4])
def test_equal_scores_are_no_decision_before_the_first_look(num_initial: int) -> None:
    """With 20 test samples two arms often have equal scores in one seed."""
    model = replace(MODEL, effects=(0.0,), num_scores=1)
    values = np.full((1, 2, MODEL.max_seeds), 0.55)
    scores = make_scores(values[0][None], model)
    initial_seeds = dict.fromkeys(model.arms, num_initial)
    rule = replace(model.rule, rule=replace(model.rule.rule, initial_seeds=initial_seeds))
    purchases = replay_purchases(rule, scores, ALL_CELLS)
    assert purchases.stop_reason is StopReason.DECIDED
    assert len(purchases.cells) == 4 * len(model.arms)


def test_equal_scores_of_too_few_seeds_are_no_decision() -> None:
    model = replace(MODEL, effects=(0.0,), num_scores=1)
    (score,) = make_scores(np.full((1, 2, MODEL.max_seeds), 0.55), model)
    values = {arm: dict(by_seed) for arm, by_seed in score.observations.values.items()}
    for seed in (1, 2, 3):
        del values["off0"][seed]
    diverged = frozenset(("off0", seed) for seed in (1, 2, 3))
    observations = replace(score.observations, values=values, diverged_cells=diverged)
    purchases = replay_purchases(model.rule, [replace(score, observations=observations)], ALL_CELLS)
    assert purchases.stop_reason is StopReason.DECIDED
    assert len(purchases.rounds) > 1


def drop_values(score: PrimaryScore) -> PrimaryScore:
    return replace(score, observations=replace(score.observations, values={}))


def test_a_score_that_no_run_has_is_not_waited_for() -> None:
    first, second = draw_scores()
    purchases = replay_purchases(MODEL.rule, [first, drop_values(second)], ALL_CELLS)
    assert purchases.stop_reason is StopReason.DECIDED
    assert purchases.rounds == replay_purchases(MODEL.rule, [first], ALL_CELLS).rounds
    nothing = replay_purchases(MODEL.rule, [*map(drop_values, (first, second))], ALL_CELLS)
    assert nothing.stop_reason is StopReason.NO_SCORES
    assert len(nothing.rounds) == 1
