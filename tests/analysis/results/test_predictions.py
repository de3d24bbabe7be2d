"""Grades of predictions: held, failed or undecided, by the verdict on their contrast."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.results.predictions import Grade, grade, grade_predictions
from analysis.statistics.verdicts import (
    ALL_DIVERGED,
    EXACTLY_ZERO,
    NO_DATA,
    NO_VERDICT,
    PRACTICALLY_NOTHING,
    TOO_FEW_SEEDS,
    UNRESOLVED,
    Verdict,
)
from tests.helpers.designed_sweeps import analyze_design
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import Arm, Prediction

HELPS, HURTS = Verdict(word="helps", sign=1), Verdict(word="hurts", sign=-1)
NOTHING, ZERO = Verdict(word=PRACTICALLY_NOTHING), Verdict(word=EXACTLY_ZERO)


@pytest.mark.parametrize(
    ("sign", "held", "failed"),
    [
        ("positive", [HELPS], [HURTS, NOTHING, ZERO]),
        ("negative", [HURTS], [HELPS, NOTHING, ZERO]),
        ("null", [NOTHING, ZERO], [HELPS, HURTS]),
    ],
)
def test_a_grade_follows_from_the_verdict(
    sign: str, held: list[Verdict], failed: list[Verdict]
) -> None:
    assert {grade(sign, v) for v in held} == {Grade.HELD}
    assert {grade(sign, v) for v in failed} == {Grade.FAILED}
    for word in (UNRESOLVED, NO_VERDICT, TOO_FEW_SEEDS, NO_DATA, ALL_DIVERGED):
        assert grade(sign, Verdict(word=word)) is Grade.UNDECIDED


def test_predictions_of_a_sweep_are_graded_on_their_contrasts(tmp_path: Path) -> None:
    declared = tuple(
        Prediction(component=n, sign=sign, reason="r")
        for n, sign in (("a", "positive"), ("b", "null"), ("c", "negative"), ("d", "positive"))
    )
    it = ablation(5, "fractional", resolution=3, predictions=declared)

    def score(arm: Arm) -> float:
        return 0.3 + 0.06 * arm.levels["a"] + 0.06 * arm.levels["c"]

    truth = Truth(seeds=(0, 1, 2), noise=0.002, margin=0.02)
    graded = grade_predictions(analyze_design(tmp_path, it, score, truth))
    assert [(g.contrast.name, g.grade) for g in graded] == [
        ("main:a", Grade.HELD),
        ("main:b", Grade.HELD),
        ("main:c", Grade.FAILED),
        ("main:d", Grade.FAILED),
    ]
