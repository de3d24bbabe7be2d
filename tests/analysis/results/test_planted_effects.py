"""Checks of planted effects: each kind passes where it should, and incomplete runs never do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect.frame import SweepData
from analysis.results.planted_effects import CheckStatus, check_planted_effects
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import Look, PlantedEffect


def plant(data: SweepData, *effects: PlantedEffect) -> SweepData:
    return replace(data, plan=replace(data.plan, planted_effects=effects))


def effect_of(kind: str, contrast: str, metric: str | None = None) -> PlantedEffect:
    return PlantedEffect(kind=kind, description=kind, contrast=contrast, metric=metric)  # type: ignore[arg-type]


CONFIRMED, FAILED, NOT_CHECKED = CheckStatus


def test_each_kind_is_checked(complete_results: Results) -> None:
    data = complete_results.sweep_data
    effects = {
        effect_of("positive_effect", "main:awareness"): CONFIRMED,
        effect_of("positive_effect", "main:mp_nce"): FAILED,
        effect_of("practically_nothing", "main:awareness"): FAILED,
        effect_of("practically_nothing", "main:awareness", metric="gap"): CONFIRMED,
        effect_of("exactly_zero", "main:awareness", metric="gap"): CONFIRMED,
        effect_of("exactly_zero", "main:awareness"): FAILED,
        PlantedEffect(kind="at_chance", description="", arm="clip"): FAILED,
        PlantedEffect(kind="at_chance", description="", arm="clip", metric="gap"): FAILED,
    }
    results = check_planted_effects(plant(data, *effects))
    assert [r.status for r in results] == list(effects.values())
    assert "p = " in results[0].detail
    assert results[4].detail == "exactly 0 in 3 seeds"
    assert "chance 0.17 %, standard error of the test set 0.17 pp" in results[6].detail
    assert results[7].detail == "the score has no chance level, or is no proportion"


@pytest.mark.parametrize(
    ("margin", "status", "detail"),
    [
        (0.1, CONFIRMED, "practically nothing at 3 seeds"),
        (0.003, FAILED, "not shown with 3 seeds"),
        (None, FAILED, "not shown with 3 seeds"),
    ],
)
def test_a_planted_equivalence_needs_a_margin_and_enough_seeds(
    tmp_path: Path, margin: float | None, status: CheckStatus, detail: str
) -> None:
    data = analyze_fake_sweep(tmp_path, Truth(margin=margin)).sweep_data
    planted = effect_of("practically_nothing", "main:mp_nce")
    (result,) = check_planted_effects(plant(data, planted))
    assert (result.status, result.detail.endswith(detail)) == (status, True), result.detail
    assert ("margin" in result.detail) == (margin is not None)


@pytest.mark.parametrize("kind", ["positive_effect", "practically_nothing"])
def test_before_its_first_look_an_effect_is_not_checked(tmp_path: Path, kind: str) -> None:
    truth = Truth(margin=0.1, looks=(Look(num_seeds=5, level=0.05),))
    data = analyze_fake_sweep(tmp_path, truth).sweep_data
    (result,) = check_planted_effects(plant(data, effect_of(kind, "main:awareness")))
    assert result.status is NOT_CHECKED
    assert result.detail.endswith("3 seeds, no verdict before 5 seeds")


def test_an_earlier_kind_is_checked_by_its_own_rule(complete_results: Results) -> None:
    """Plans from before there were margins expect that nothing is shown."""
    planted = [effect_of("no_significant_effect", f"main:{n}") for n in ("mp_nce", "awareness")]
    results = check_planted_effects(plant(complete_results.sweep_data, *planted))
    assert [r.status for r in results] == [CONFIRMED, FAILED]


def test_a_primary_contrast_is_corrected_as_in_the_report(complete_results: Results) -> None:
    effect = complete_results.effects["main:mp_nce"]
    planted = effect_of("positive_effect", "main:mp_nce")
    (result,) = check_planted_effects(plant(complete_results.sweep_data, planted))
    assert effect.p_adjusted is not None
    assert f"p = {effect.p_adjusted:.3g}" in result.detail


@pytest.mark.parametrize("lost", ["missing", "diverged"])
def test_an_incomplete_contrast_does_not_pass(tmp_path: Path, lost: str) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(**{lost: (("full", 0),)}))  # type: ignore[arg-type]
    planted = effect_of("positive_effect", "main:awareness")
    (result,) = check_planted_effects(plant(results.sweep_data, planted))
    assert result.status is FAILED
