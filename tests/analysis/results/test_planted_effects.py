"""Checks of planted effects: each kind passes where it should, and incomplete runs never do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.collect.frame import SweepData
from analysis.results.planted_effects import check_planted_effects
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import PlantedEffect


def plant(data: SweepData, *effects: PlantedEffect) -> SweepData:
    return replace(data, plan=replace(data.plan, planted_effects=effects))


def effect_of(kind: str, contrast: str, metric: str | None = None) -> PlantedEffect:
    return PlantedEffect(kind=kind, description=kind, contrast=contrast, metric=metric)  # type: ignore[arg-type]


def test_each_kind_is_checked(complete_results: Results) -> None:
    data = complete_results.sweep_data
    effects = {
        effect_of("positive_effect", "main:awareness"): True,
        effect_of("positive_effect", "main:mp_nce"): False,
        effect_of("no_significant_effect", "main:mp_nce"): True,
        effect_of("no_significant_effect", "main:awareness"): False,
        effect_of("exactly_zero", "main:awareness", metric="gap"): True,
        effect_of("exactly_zero", "main:awareness"): False,
        PlantedEffect(kind="at_chance", description="", arm="clip"): False,
        PlantedEffect(kind="at_chance", description="", arm="clip", metric="gap"): False,
    }
    results = check_planted_effects(plant(data, *effects))
    assert [r.passed for r in results] == list(effects.values())
    assert "p = " in results[0].detail
    assert results[4].detail == "exactly 0 in 3 seeds"
    assert "chance 0.17 %, standard error of the test set 0.17 pp" in results[6].detail
    assert results[7].detail == "3 of 3 seeds have the score", "without a chance level"


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
    assert not result.passed
