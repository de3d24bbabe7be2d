"""Grades of predictions: what was declared before the first run, and what came out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from analysis.results.results import Results
from analysis.statistics.verdicts import EXACTLY_ZERO, PRACTICALLY_NOTHING, Verdict
from uniclip.store import Contrast, Prediction

SIGNS = {"positive": 1, "negative": -1}


class Grade(StrEnum):
    """What became of a prediction."""

    HELD = "held"
    FAILED = "failed"
    UNDECIDED = "undecided"
    """The verdict says neither: too few seeds, or an effect that is not resolved."""


@dataclass(frozen=True, kw_only=True)
class GradedPrediction:
    """A prediction with its grade on the first primary score."""

    prediction: Prediction
    contrast: Contrast
    grade: Grade
    verdict: Verdict


def grade_predictions(results: Results) -> list[GradedPrediction]:
    """Return every prediction of the plan with its grade."""
    contrasts = {c.name: c for c in results.plan.contrasts}
    graded = []
    for prediction in results.plan.predictions:
        contrast = contrasts[prediction.contrast]
        verdict = results.judge(contrast)
        graded.append(
            GradedPrediction(
                prediction=prediction,
                contrast=contrast,
                grade=grade(prediction.sign, verdict),
                verdict=verdict,
            )
        )
    return graded


def grade(sign: str, verdict: Verdict) -> Grade:
    """Return the grade of a predicted sign: positive, negative or null.

    A sign fails if the opposite, or an effect within the margin, is shown; null fails if an effect
    outside the margin is shown. What is not resolved is no evidence for either.
    """
    is_null = verdict.word in (PRACTICALLY_NOTHING, EXACTLY_ZERO)
    if not verdict.sign and not is_null:
        return Grade.UNDECIDED
    if sign == "null":
        return Grade.HELD if is_null else Grade.FAILED
    return Grade.HELD if verdict.sign == SIGNS[sign] else Grade.FAILED
