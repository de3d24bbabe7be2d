"""The design of a plan as text: aliases, fold-overs with their price, orders and predictions."""

from __future__ import annotations

from dataclasses import replace

from sweeps.costs.estimate import CostEstimate
from sweeps.monitor.design_lines import describe_design, list_aliases, price_fold_over
from tests.helpers.designed_sweeps import make_plan
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import FoldOver, Prediction

SEEDS = Truth(seeds=(0, 1, 2))
COST = CostEstimate(seconds=1800.0, low=1700.0, high=1900.0, source="probe")
OFFER = FoldOver(components=("all",), num_arms=8, separates="5 main effects")


def test_a_fraction_states_its_size_and_its_aliases() -> None:
    plan = make_plan(ablation(5, "fractional", resolution=3), SEEDS)
    texts = describe_design(plan, {}, 0, whole=False)
    assert texts == [
        "fractional factorial: 8 of 32 combinations of 5 components; 5 of 5 main effects are "
        "aliased with interactions of two",
        "fold_over=[all] would separate 5 main effects from interactions of two: 8 more arms, "
        "24 cells, not measured",
    ]
    whole = describe_design(plan, {}, 0, whole=True)
    assert any(text.startswith("d = d + a*b ") for text in whole)
    assert len(list_aliases(plan.contrasts)) == 7


def test_fold_overs_of_single_components_are_counted_on_a_screen() -> None:
    plan = make_plan(ablation(6, "fractional"), SEEDS)
    (_, offer) = describe_design(plan, {}, 0, whole=False)
    assert offer.endswith("; that of another component is possible too (5 of them)")
    assert sum("fold_over" in text for text in describe_design(plan, {}, 0, whole=True)) == 6


def test_parts_of_interactions_and_clear_main_effects_are_named_so() -> None:
    partial = describe_design(make_plan(ablation(8, "plackett_burman"), SEEDS), {}, 0, whole=False)
    assert "8 of 8 main effects are aliased with parts of interactions of two" in partial[0]
    clear = make_plan(ablation(5, "fractional", resolution=5), SEEDS)
    (text,) = describe_design(clear, {}, 0, whole=False)
    assert text.endswith("no main effect is aliased with interactions of two or three")


def test_a_fold_over_is_priced_as_the_measured_arms() -> None:
    costs = {"x": COST, "y": replace(COST, seconds=3600.0)}
    assert price_fold_over(OFFER, 3, costs, 4) == "8 more arms, 24 cells, about 72 GPU-hours"
    assert price_fold_over(OFFER, 3, costs, 0) == "8 more arms, 24 cells, about 18.0 h of runs"


def test_sampled_orders_and_predictions_are_stated() -> None:
    plan = make_plan(ablation(6, "shapley", num_orders=4), SEEDS)
    (text,) = describe_design(plan, {}, 0, whole=False)
    assert text.startswith("Shapley values from 4 of 720 orders")
    assert describe_design(make_plan(ablation(3), SEEDS), {}, 0, whole=True) == []
    declared = (Prediction(component="a", sign="null", reason="r"),)
    predicted = make_plan(ablation(3, predictions=declared), SEEDS)
    (line,) = describe_design(replace(predicted, predictions_date="2026-01-31"), {}, 0, whole=True)
    assert line == (
        f"1 prediction of 2026-01-31, hash {predicted.predictions_digest}: "
        "main:a is practically nothing"
    )
