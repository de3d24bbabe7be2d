"""Verdicts: one for each comparison, with one correction over the primary contrasts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from analysis.formatting import get_tone
from analysis.report.summary import VERDICT_WIDTH
from analysis.statistics.effects import Effect, LookResult, Observations
from analysis.statistics.verdicts import (
    ALL_DIVERGED,
    PrimaryScore,
    collect_declared_comparisons,
    combine_verdicts,
    estimate_contrasts,
    judge,
    negate,
)
from tests.analysis.statistics.test_effects import make_rng, observe
from uniclip.store import Contrast, Look


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


KEY = ("openmoji", "retrieval.r1")
LOOKS = (Look(num_seeds=3, level=0.05),)
OBSERVATIONS = observe(
    {"a": [0.50, 0.60, 0.71], "b": [0.40, 0.51, 0.59], "c": [0.45, 0.50, 0.66], "d": [0.2]}
)


def estimate(
    contrasts: list[Contrast],
    observations: Observations,
    looks: tuple[Look, ...] = LOOKS,
    margin: float | None = None,
) -> dict[str, Effect]:
    """Estimate contrasts on one score."""
    score = PrimaryScore(key=KEY, observations=observations, margin=margin)
    return estimate_contrasts(contrasts, [score], looks)[KEY]


def make_tested(
    p: float | None, *, mean: float = 0.1, corrected: bool = False, **fields: Any
) -> Effect:
    """Return an effect of three seeds whose look gave these p-values."""
    look = LookResult(
        dataset=KEY[0], metric=KEY[1], looks=LOOKS, num_finished=3, reached=LOOKS[0], num_tested=3,
        mean=mean, p=p, is_corrected=corrected, **fields,
    )  # fmt: skip
    return replace(make_effect(mean, 2 * mean, mean), look=look)


UNTESTED = replace(
    make_effect(0.1, 0.2),
    look=LookResult(dataset=KEY[0], metric=KEY[1], looks=LOOKS, num_finished=2),
)


@pytest.mark.parametrize(
    ("effect", "kind", "verdict", "short_verdict", "tone"),
    [
        (make_tested(0.01), "main", "helps* at 3 seeds", "helps*", "good"),
        (make_tested(0.03, corrected=True), "main", "helps at 3 seeds", "helps", "good"),
        (make_tested(0.01, mean=-0.1), "difference", "hurts* at 3 seeds", "hurts*", "bad"),
        (make_tested(0.01), "interaction", "synergy* at 3 seeds", "synergy*", "good"),
        (make_tested(0.01), "noise", "differs* at 3 seeds", "differs*", "bad"),
        (make_tested(0.7), "main", "unresolved at 3 seeds", "unresolved", "muted"),
        (make_tested(0.06, corrected=True), "main", "unresolved at 3 seeds", "unresolved", "muted"),
        (
            make_tested(0.7, p_equivalence=0.01, corrected=True),
            "main", "practically nothing at 3 seeds", "pract. nothing", "muted",
        ),
        (
            make_tested(0.01, p_equivalence=0.01),
            "main", "practically nothing* at 3 seeds", "pract. nothing*", "muted",
        ),
        (make_effect(0.0, 0.0, 0.0), "main", "exactly 0", "exactly 0", "muted"),
        (UNTESTED, "main", "no verdict before 3 seeds", "no verdict", "muted"),
        (make_tested(None), "main", "too few seeds at 3 seeds", "too few seeds", "muted"),
        (make_effect(), "main", "no data", "no data", "muted"),
        (make_effect(num_diverged=3), "main", ALL_DIVERGED, "all diverged", "muted"),
    ],
)  # fmt: skip
def test_words(effect: Effect, kind: str, verdict: str, short_verdict: str, tone: str) -> None:
    judged = judge(effect, make_contrast("x", kind=kind))
    assert (judged.text, judged.short_text, get_tone(judged)) == (verdict, short_verdict, tone)
    assert len(judged.short_text) <= VERDICT_WIDTH


def test_equal_scores_are_exactly_0_only_where_a_look_has_tested_them() -> None:
    contrast = make_contrast("x", primary=True)
    texts = []
    for num_seeds, num_diverged in [(1, 0), (2, 0), (1, 2), (2, 2), (3, 0), (5, 0)]:
        values = {"a": [0.55] * num_seeds, "b": [0.55] * (num_seeds + num_diverged)}
        observations = observe(values, resolution=1 / 20)
        diverged = frozenset(("a", num_seeds + i) for i in range(num_diverged))
        observations = replace(
            observations, seeds=tuple(range(num_seeds + num_diverged)), diverged_cells=diverged
        )
        effect = estimate([contrast], observations)["x"]
        assert effect.is_exactly_zero
        texts.append(judge(effect, contrast).text)
    assert texts == [
        *["no verdict before 3 seeds"] * 2, *["too few seeds at 3 seeds"] * 2, *["exactly 0"] * 2
    ]  # fmt: skip


def test_a_verdict_names_its_score() -> None:
    judged = judge(make_tested(0.01), make_contrast("x"))
    assert judged.metric == "retrieval.r1"
    assert judged.name_score("R@1") == "helps* on R@1 at 3 seeds"
    assert judge(UNTESTED, make_contrast("x")).name_score("R@1") == (
        "no verdict before 3 seeds on R@1"
    )


def test_verdicts_on_several_scores_in_one_word() -> None:
    contrast = make_contrast("x", primary=True)
    helps, hurts = (judge(make_tested(0.01, mean=m), contrast) for m in (0.1, -0.1))
    unresolved = judge(make_tested(0.9), contrast)
    combine = lambda *verdicts: combine_verdicts(dict(zip("abc", verdicts)))  # noqa: E731
    assert combine(helps) == combine(helps, helps) == "helps"
    assert combine(helps, unresolved, hurts) == "mixed"
    labelled = {"R@1 both ways": helps, "log likelihood both ways": unresolved}
    assert combine_verdicts(labelled) == (
        "helps on R@1 both ways; unresolved on log likelihood both ways"
    )


def test_the_family_is_contrasts_times_scores() -> None:
    contrasts = [make_contrast("x", primary=True), make_contrast("y", "a", "c", primary=True)]
    scores = [PrimaryScore(key=("set", name), observations=OBSERVATIONS) for name in ("one", "two")]
    both = estimate_contrasts(contrasts, scores, LOOKS)
    alone = estimate_contrasts(contrasts[:1], scores[:1], LOOKS)[scores[0].key]["x"]
    assert list(both) == [("set", "one"), ("set", "two")]
    assert alone.p_adjusted is not None
    assert both["set", "one"]["x"].p_adjusted == pytest.approx(min(1, 4 * alone.p_adjusted))
    assert both["set", "one"]["x"].mde != alone.mde


def test_equivalence_is_corrected_where_a_margin_is_declared() -> None:
    contrasts = [make_contrast("x", primary=True), make_contrast("y", "a", "c", primary=True)]
    first = PrimaryScore(key=("set", "one"), observations=OBSERVATIONS, margin=0.3)
    second = PrimaryScore(key=("set", "two"), observations=OBSERVATIONS)

    def read_p_values(*scores: PrimaryScore) -> tuple[float | None, float | None]:
        look = estimate_contrasts(contrasts, scores, LOOKS)[first.key]["x"].look
        assert look is not None
        return look.p, look.p_equivalence

    alone, beside_no_margin = read_p_values(first), read_p_values(first, second)
    assert beside_no_margin[1] == alone[1] is not None
    assert beside_no_margin[0] != alone[0], "all four are tests of an effect"
    assert read_p_values(first, replace(second, margin=0.3))[1] != alone[1]


def test_a_score_that_no_run_has_is_not_counted() -> None:
    contrasts = [make_contrast("x", primary=True), make_contrast("y", "a", "c", primary=True)]
    measured = PrimaryScore(key=KEY, observations=OBSERVATIONS)
    absent = PrimaryScore(key=("openmoji", "none"), observations=observe({"a": [], "b": []}))
    effects = estimate_contrasts(contrasts, [measured, absent], LOOKS)
    assert effects[KEY] == estimate(contrasts, OBSERVATIONS)
    assert judge(effects[absent.key]["x"], contrasts[0]).word == "no data"


def test_a_missing_arm_does_not_weaken_the_correction() -> None:
    """A contrast that cannot be tested yet still counts in the family."""
    contrasts = [make_contrast("x", primary=True), make_contrast("few", "a", "d", primary=True)]
    alone, pair = (estimate(contrasts[:n], OBSERVATIONS)["x"] for n in (1, 2))
    assert alone.p_adjusted == pytest.approx(alone.p)
    assert pair.p_adjusted == pytest.approx(2 * (alone.p or 0))


def test_a_verdict_stands_between_looks() -> None:
    """Seeds after a look change the estimate, never the verdict; the next look may."""
    g, contrast = make_rng(40), make_contrast("x", primary=True)
    a = [*g.normal(0.1, 0.01, 5), *g.normal(-0.5, 0.5, 3)]
    looks = (Look(num_seeds=5, level=0.02), Look(num_seeds=8, level=0.03))
    by_seeds = {
        n: estimate([contrast], observe({"a": a[:n], "b": [0.0] * n}), looks)["x"]
        for n in range(4, 9)
    }
    verdicts = {n: judge(effect, contrast).text for n, effect in by_seeds.items()}
    assert verdicts == {
        4: "no verdict before 5 seeds",
        **dict.fromkeys((5, 6, 7), "helps at 5 seeds"),
        8: "unresolved at 8 seeds",
    }
    assert by_seeds[7].p_adjusted == by_seeds[5].p_adjusted
    assert by_seeds[7].mean != by_seeds[5].mean


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
    effects = estimate(contrasts, OBSERVATIONS)
    first = effects["primary"]
    assert first.p is not None
    assert first.p_adjusted == pytest.approx(2 * first.p), "two comparisons, not three"
    for name in ("again", "reversed", "half"):
        assert effects[name].p_adjusted == first.p_adjusted
        assert not judge(effects[name], contrasts[1]).is_exploratory
    assert effects["reversed"].sign == -(first.sign or 0)
    assert effects["half"].mean == pytest.approx((first.mean or 0) / 2)
    half_mde, mde = effects["half"].mde, first.mde
    assert half_mde is not None
    assert mde is not None
    assert half_mde.value == pytest.approx(mde.value / 2)
    assert effects["other, reversed"].p_adjusted == effects["other"].p_adjusted


def test_exploratory_contrasts_do_not_change_the_family() -> None:
    primary = make_contrast("primary", primary=True)
    alone = estimate([primary], OBSERVATIONS)["primary"]
    others = [make_contrast("x", "a", "c"), make_contrast("y", "b", "c")]
    together = estimate([*others, primary], OBSERVATIONS)
    assert together["primary"] == alone
    assert together["x"].p_adjusted is None
    assert list(together) == ["x", "y", "primary"]


def test_pairs_are_found_in_both_directions() -> None:
    contrasts = [
        make_contrast("exploratory"),
        make_contrast("primary", "b", "a", primary=True),
        make_contrast("three arms", weights={"a": 1.0, "b": -0.5, "c": -0.5}),
    ]
    declared = collect_declared_comparisons(contrasts, estimate(contrasts, OBSERVATIONS))
    assert set(declared) == {("a", "b"), ("b", "a")}
    assert {c.contrast.name for c in declared.values()} == {"primary"}
    effect, reverse = declared["a", "b"].effect, declared["b", "a"].effect
    assert negate(reverse) == effect
    assert effect.mean == -(reverse.mean or 0)
    assert (effect.low, effect.high) == (-(reverse.high or 0), -(reverse.low or 0))
    assert declared["a", "b"].effect.p_adjusted == reverse.p_adjusted


def test_a_comparison_without_data_has_no_sign() -> None:
    contrast = make_contrast("few", "a", "d", primary=True)
    effects = estimate([contrast], OBSERVATIONS)
    assert judge(effects["few"], contrast).text == "no verdict before 3 seeds"
    nothing = estimate([contrast], Observations(seeds=(0,), values={}))
    assert judge(nothing["few"], contrast).sign == 0
