"""Table of predictions: what was expected, what came out, and the grade."""

from __future__ import annotations

from collections import Counter

from analysis import formatting
from analysis.results.predictions import Grade, GradedPrediction, grade_predictions
from analysis.results.results import Results
from analysis.tables.table import Table, TableCell, make_row

TONES = {Grade.HELD: formatting.GOOD, Grade.FAILED: formatting.BAD}


def build_prediction_table(results: Results) -> Table | None:
    """Return one row for each prediction; None if there are none."""
    graded = grade_predictions(results)
    if not graded:
        return None
    return Table(
        name="predictions",
        title="Predictions",
        headings=("contrast", "predicted", "verdict", "grade", "reason", "effect"),
        rows=tuple(_build_row(results, g) for g in graded),
        records=tuple(
            {
                "contrast": g.contrast.name,
                "predicted": g.prediction.sign,
                "verdict": g.verdict.word,
                "effect": results.effects[g.contrast.name].mean,
                "grade": g.grade.value,
                "reason": g.prediction.reason,
            }
            for g in graded
        ),
        notes=(
            f"Graded by the verdict on {results.format_heading(results.primary_score)}. Hash of "
            f"predictions, arms and rules: {results.plan.predictions_digest}.",
        ),
        num_text_columns=5,
    )


def _build_row(results: Results, graded: GradedPrediction) -> tuple[TableCell, ...]:
    effect = results.effects[graded.contrast.name]
    number_format = results.get_effect_format(effect)
    interval = number_format.format_interval(effect)
    return make_row(
        graded.contrast.label,
        graded.prediction.sign,
        graded.verdict.text,
        TableCell(text=graded.grade.value, tone=TONES.get(graded.grade, "")),
        graded.prediction.reason,
        f"{number_format.format_signed(effect.mean)} {interval}".strip(),
    )


def describe_predictions(results: Results) -> list[str]:
    """Return how many predictions held, in one sentence; nothing without predictions."""
    graded = grade_predictions(results)
    if not graded:
        return []
    counts = Counter(g.grade for g in graded)
    counts_text = ", ".join(f"{counts[g]} {g.value}" for g in Grade)
    failed = [g.contrast.label for g in graded if g.grade is Grade.FAILED]
    failed_text = f" (failed: {'; '.join(failed)})" if failed else ""
    date = results.plan.predictions_date
    dated = f" of {date}" if date else ""
    plural = "s" * (len(graded) > 1)
    return [f"{len(graded)} prediction{plural}{dated}: {counts_text}{failed_text}."]
