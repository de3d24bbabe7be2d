"""Verdicts: one for each comparison, with one correction over the primary contrasts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.formatting import get_tone
from analysis.statistics.effects import Effect, Observations
from analysis.statistics.verdicts import (
    ALL_DIVERGED,
    collect_declared_comparisons,
    estimate_contrasts,
    judge,
    negate,
)
from tests.analysis.statistics.test_effects import observe
from uniclip.store import Contrast


def make_effect(*values: float, p: float | None = None, **fields: float) -> Effect:
    mean = sum(values) / len(values) if values else None
    seeds = tuple(range(len(values)))
    return Effect(seeds=seeds, values=values, mean=mean, p=p, **fields)  # type: ignore[arg-type]


def make_contrast(name: str, plus: str = "a", minus: str = "b", **fields: object) -> Contrast:
    contrast = Contrast(
        name=name,
        label=name,
        kind="difference",
        weights={plus: 1.0, minus: -1.0},
        primary=False,
    )
    return replace(contrast, **fields)  # type: ignore[arg-type]


SIGNIFICANT, INSIGNIFICANT = make_effect(0.1, 0.2, 0.1, p=0.01), make_effect(0.1, -0.2, 0.1, p=0.7)
HOLM = make_effect(0.1, -0.2, 0.1, p=0.03, p_adjusted=0.06)
OBSERVATIONS = observe(
    {"a": [0.50, 0.60, 0.71], "b": [0.40, 0.51, 0.59], "c": [0.45, 0.50, 0.66], "d": [0.2]}
)


@pytest.mark.parametrize(
    ("effect", "kind", "verdict", "short_verdict", "tone"),
    [
        (SIGNIFICANT, "main", "helps*", "helps*", "good"),
        (replace(SIGNIFICANT, p_adjusted=0.03), "main", "helps", "helps", "good"),
        (make_effect(-0.1, -0.2, -0.1, p=0.01), "difference", "hurts*", "hurts*", "bad"),
        (SIGNIFICANT, "interaction", "synergy*", "synergy*", "good"),
        (SIGNIFICANT, "noise", "differs*", "differs*", "bad"),
        (INSIGNIFICANT, "main", "not significant", "n.s.", "muted"),
        (HOLM, "main", "not significant", "n.s. (Holm)", "muted"),
        (make_effect(0.0, 0.0, 0.0), "main", "exactly 0", "exactly 0", "muted"),
        (make_effect(0.1, 0.2), "main", "too few seeds", "too few seeds", "muted"),
        (make_effect(), "main", "no data", "no data", "muted"),
        (make_effect(num_diverged=3), "main", ALL_DIVERGED, "every seed diverged", "muted"),
    ],
)
def test_words(effect: Effect, kind: str, verdict: str, short_verdict: str, tone: str) -> None:
    judged = judge(effect, make_contrast("x", kind=kind))
    assert (judged.text, judged.short_text, get_tone(judged)) == (verdict, short_verdict, tone)


def test_the_same_comparison_declared_twice_has_one_verdict() -> None:
    """Once primary and once exploratory, the other way round, and with other weights."""
    contrasts = [
        make_contrast("primary", primary=True),
        make_contrast("again"),
        make_contrast("reversed", "b", "a"),
        make_contrast("half", weights={"a": 0.5, "b": -0.5}),
        make_contrast("other", "a", "c", primary=True),
        make_contrast("other, reversed", "c", "a", primary=True),
    ]
    effects = estimate_contrasts(contrasts, OBSERVATIONS)
    first = effects["primary"]
    assert first.p is not None
    assert first.p_adjusted == pytest.approx(2 * first.p), "two comparisons, not three"
    for name in ("again", "reversed", "half"):
        assert effects[name].p_adjusted == first.p_adjusted
        assert not judge(effects[name], contrasts[1]).is_exploratory
    assert effects["reversed"].sign == -(first.sign or 0)
    assert effects["half"].mean == pytest.approx((first.mean or 0) / 2)
    assert effects["half"].mde == pytest.approx((first.mde or 0) / 2)
    assert effects["other, reversed"].p_adjusted == effects["other"].p_adjusted


def test_exploratory_contrasts_do_not_change_the_family() -> None:
    primary = make_contrast("primary", primary=True)
    alone = estimate_contrasts([primary], OBSERVATIONS)["primary"]
    others = [make_contrast("x", "a", "c"), make_contrast("y", "b", "c")]
    together = estimate_contrasts([*others, primary], OBSERVATIONS)
    assert together["primary"] == alone
    assert together["x"].p_adjusted is None
    assert list(together) == ["x", "y", "primary"]


def test_pairs_are_found_in_both_directions() -> None:
    contrasts = [
        make_contrast("exploratory"),
        make_contrast("primary", "b", "a", primary=True),
        make_contrast("three arms", weights={"a": 1.0, "b": -0.5, "c": -0.5}),
    ]
    declared = collect_declared_comparisons(contrasts, estimate_contrasts(contrasts, OBSERVATIONS))
    assert set(declared) == {("a", "b"), ("b", "a")}
    assert {c.contrast.name for c in declared.values()} == {"primary"}
    effect, reverse = declared["a", "b"].effect, declared["b", "a"].effect
    assert negate(reverse) == effect
    assert effect.mean == -(reverse.mean or 0)
    assert (effect.low, effect.high) == (-(reverse.high or 0), -(reverse.low or 0))
    assert declared["a", "b"].effect.p_adjusted == reverse.p_adjusted


def test_a_comparison_without_data_has_no_sign() -> None:
    contrast = make_contrast("few", "a", "d", primary=True)
    effects = estimate_contrasts([contrast], OBSERVATIONS)
    assert judge(effects["few"], contrast).text == "too few seeds"
    nothing = estimate_contrasts([contrast], Observations(seeds=(0,), values={}))
    assert judge(nothing["few"], contrast).sign == 0
