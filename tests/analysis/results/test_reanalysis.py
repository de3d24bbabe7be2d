"""Analysis on another score or level than the plan declares."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats

from analysis.results.reanalysis import analyze_sweep, get_alpha
from analysis.results.results import Results
from tests.helpers import fake_sweep
from uniclip.errors import UserError

SWEEP = fake_sweep.plan(fake_sweep.Truth()).sweep_id


def test_without_parameters_the_results_are_those_of_the_report(
    complete_root: Path, complete_results: Results
) -> None:
    results = analyze_sweep(complete_root, "components")
    assert results.primary_effects == complete_results.primary_effects
    assert get_alpha(results) == 0.05


def test_another_score_is_a_family_of_its_own_and_exploratory(
    complete_root: Path, complete_results: Results
) -> None:
    results = analyze_sweep(complete_root, SWEEP, score="probe.category")
    key = ("openmoji", "probe.category")
    assert results.primary_scores == [key]
    before = complete_results.other_effects[key]["main:awareness"]
    effect = results.effects["main:awareness"]
    assert (effect.values, effect.low, effect.high) == (before.values, before.low, before.high)
    assert effect.look is not None
    assert effect.look.family_size == 3
    assert "chosen after the runs" in results.plan.caveats[-1]
    declared = analyze_sweep(complete_root, SWEEP, score="openmoji/retrieval.r1")
    assert declared.plan == complete_results.plan


@pytest.mark.parametrize("alpha", [0.2, 0.001])
def test_another_level_changes_intervals_verdicts_and_mde(
    complete_root: Path, complete_results: Results, alpha: float
) -> None:
    results = analyze_sweep(complete_root, SWEEP, alpha=alpha)
    for name, effect in results.effects.items():
        usual = complete_results.effects[name]
        assert effect.low is not None
        assert usual.low is not None
        interval = stats.t.interval(1 - alpha, 2, effect.mean, effect.standard_error)
        assert (effect.low, effect.high) == pytest.approx(interval)
        assert effect.look is not None
        assert usual.look is not None
        assert effect.look.p == usual.look.p, "p-values do not depend on the level"
        assert effect.sign == (0 if effect.look.p >= alpha else usual.sign or effect.sign)
        assert effect.mde is not None
        assert usual.mde is not None
        assert (effect.mde.value > usual.mde.value) == (alpha < 0.05)
    awareness = complete_results.effects["main:awareness"]
    assert awareness.look is not None
    assert awareness.look.p is not None
    assert 0.001 < awareness.look.p < 0.05
    assert results.effects["main:awareness"].sign == (1 if alpha == 0.2 else 0)


def test_wrong_parameters_are_refused(complete_root: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean .*retrieval\.i2t\.r1"):
        analyze_sweep(complete_root, SWEEP, score="retrieval.i2t.r2")
    with pytest.raises(UserError, match="alpha=5 is no probability"):
        analyze_sweep(complete_root, SWEEP, alpha=5)
