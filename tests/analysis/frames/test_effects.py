"""Effects, verdicts and the steps of the correction as data frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.frames.effects import (
    tabulate_correction,
    tabulate_effects,
    tabulate_interactions,
    tabulate_other_effects,
    tabulate_verdicts,
)
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import (
    analyze_fake_sweep,
    analyze_listed_sweep,
    analyze_with_metrics,
)
from tests.helpers.fake_sweep import Truth
from uniclip.store import Look


def test_frames_have_the_effects_of_the_results(complete_results: Results) -> None:
    effects = tabulate_effects(complete_results)
    assert len(effects) == len(complete_results.effects)
    for name, effect in complete_results.effects.items():
        row = effects.loc[(name, "openmoji", "retrieval.r1")]
        assert (row["effect"], row["ci_low"]) == (effect.mean, effect.low)
    assert len(tabulate_verdicts(complete_results)) == 3
    assert len(tabulate_interactions(complete_results)) == 3
    others = tabulate_other_effects(complete_results)
    assert ("main:awareness", "openmoji", "probe.category") in others.index


@pytest.mark.parametrize("num_seeds", [2, 3, 4])
def test_the_steps_of_the_correction_give_the_adjusted_p_values(
    tmp_path: Path, num_seeds: int
) -> None:
    """Also with two scores in the family, and before the first look."""
    looks = (Look(num_seeds=3, level=0.03), Look(num_seeds=4, level=0.02))
    truth = Truth(seeds=tuple(range(num_seeds)), looks=looks)
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "probe.category", truth)
    correction = tabulate_correction(results)
    assert len(correction) == 6
    if num_seeds == 2:
        assert correction["p_adjusted"].isna().all()
        return
    assert set(correction["look_seeds"]) == {num_seeds}
    level = looks[num_seeds - 3].level
    assert np.allclose(correction["p_looks"], (correction["p_look"] * 0.05 / level).clip(upper=1))
    assert correction["holm_factor"].tolist() == [6, 5, 4, 3, 2, 1]
    by_hand = (correction["p_looks"] * correction["holm_factor"]).cummax().clip(upper=1)
    assert np.allclose(by_hand, correction["p_adjusted"])


def test_a_listed_design_has_no_interactions(tmp_path: Path) -> None:
    results = analyze_listed_sweep(tmp_path, Truth())
    assert tabulate_interactions(results).empty
    assert len(tabulate_verdicts(results)) == 5


def test_a_sweep_without_contrasts_has_empty_frames(tmp_path: Path) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(seeds=(0,)))
    plan = replace(results.plan, contrasts=())
    results = replace(results, sweep_data=replace(results.sweep_data, plan=plan))
    assert tabulate_verdicts(results).empty
    assert tabulate_correction(results).empty
    assert tabulate_interactions(results).empty
