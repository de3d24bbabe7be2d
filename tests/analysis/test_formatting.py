"""Numbers and verdicts as text."""

from __future__ import annotations

import pytest

from analysis import formatting
from analysis.statistics.effects import Effect


def make_effect(*values: float, p: float | None = None, **fields: float) -> Effect:
    mean = sum(values) / len(values) if values else None
    seeds = tuple(range(len(values)))
    return Effect(seeds=seeds, values=values, mean=mean, p=p, **fields)  # type: ignore[arg-type]


SIGNIFICANT, INSIGNIFICANT = make_effect(0.1, 0.2, 0.1, p=0.01), make_effect(0.1, -0.2, 0.1, p=0.7)


@pytest.mark.parametrize(
    ("effect", "kind", "verdict", "short_verdict", "tone"),
    [
        (SIGNIFICANT, "main", "helps", "helps", "good"),
        (make_effect(-0.1, -0.2, -0.1, p=0.01), "difference", "hurts", "hurts", "bad"),
        (SIGNIFICANT, "interaction", "synergy", "synergy", "good"),
        (SIGNIFICANT, "noise", "differs", "differs", "bad"),
        (INSIGNIFICANT, "main", "not significant", "n.s.", "muted"),
        (make_effect(0.1, -0.2, 0.1, p=0.3, p_adjusted=0.7), "main", "not significant",
         "n.s. (Holm)", "muted"),
        (make_effect(0.0, 0.0, 0.0), "main", "exactly 0", "exactly 0", "muted"),
        (make_effect(0.1, 0.2), "main", "too few seeds", "too few seeds", "muted"),
        (make_effect(), "main", "no data", "no data", "muted"),
        (make_effect(num_diverged=3), "main", formatting.ALL_DIVERGED, "every seed diverged",
         "muted"),
    ],
)  # fmt: skip
def test_verdicts(effect: Effect, kind: str, verdict: str, short_verdict: str, tone: str) -> None:
    assert formatting.format_verdict(effect, kind) == verdict
    assert formatting.format_short_verdict(effect, kind) == short_verdict
    assert formatting.get_tone(effect, kind) == tone


def test_numbers_have_a_real_minus_and_no_negative_zero() -> None:
    minus = formatting.MINUS
    assert formatting.format_number(-0.5) == f"{minus}0.500"
    assert formatting.format_number(-0.0001) == "0.000"
    assert formatting.format_number(None) == formatting.format_number(float("nan")) == "n/a"
    assert formatting.format_signed(0.1234) == "+0.123"
    assert formatting.format_signed(-0.1234) == f"{minus}0.123"
    assert formatting.format_signed(0.0) == "0"
    assert formatting.format_p_value(0.0001) == "< 0.001"
    assert formatting.format_p_value(0.25) == "0.250"
    assert formatting.format_p_value(None) == ""


def test_lost_seeds_have_their_reason() -> None:
    effect = make_effect(0.1, 0.2, num_diverged=1, num_missing=2)
    assert formatting.format_seed_count(effect) == "2 of 5 (1 diverged, 2 missing)"
    assert formatting.format_seed_count(SIGNIFICANT) == "3"
    assert formatting.format_exclusions({"diverged": 0, "failed": 1}) == " (1 failed)"


def test_forward_passes_of_both_sides() -> None:
    passes = {"a": {"image": 3.0}, "b": {"image": 1.0}, "c": {"image": 2.0}}
    text = formatting.format_forward_passes(passes, ["a"], ["b", "c"])
    assert text == "3 vs. 1 or 2 image forward passes"
    assert formatting.format_forward_passes(passes, ["a"], ["unknown"]) == "not stated"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("retrieval.r1", "R@1 both ways"),
        ("retrieval.i2t.r5", "R@5 image to text"),
        ("zeroshot.skin_tone", "zero-shot skin tone"),
        ("probe.category.views.identity", "linear probe category (identity vector)"),
        ("ece", "ece"),
    ],
)
def test_score_labels(name: str, label: str) -> None:
    assert formatting.format_score_label(name) == label
