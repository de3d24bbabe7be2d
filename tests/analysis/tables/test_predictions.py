"""Table of predictions, and the sentence of the summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.tables.predictions import build_prediction_table, describe_predictions
from tests.helpers.analyzed_sweeps import read_records
from tests.helpers.designed_sweeps import analyze_design
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import Prediction

DECLARED = (
    Prediction(component="a", sign="positive", reason="seen before"),
    Prediction(component="b", sign="positive", reason="likewise"),
)


def test_predictions_are_listed_with_verdict_and_grade(tmp_path: Path) -> None:
    it = ablation(2, predictions=DECLARED)
    truth = Truth(seeds=(0, 1, 2), noise=0.002)
    results = analyze_design(tmp_path, it, lambda arm: 0.3 + 0.1 * arm.levels["a"], truth)
    table = build_prediction_table(results)
    assert table is not None
    assert [(r["contrast"], r["grade"]) for r in read_records(table)] == [
        ("main:a", "held"),
        ("main:b", "undecided"),
    ]
    assert results.plan.predictions_digest in table.notes[0]
    assert describe_predictions(results) == ["2 predictions: 1 held, 0 failed, 1 undecided."]
    dated = replace(results.sweep_data, plan=replace(results.plan, predictions_date="2026-01-31"))
    (sentence,) = describe_predictions(replace(results, sweep_data=dated))
    assert sentence.startswith("2 predictions of 2026-01-31: ")
    bare = replace(results.sweep_data, plan=replace(results.plan, predictions=()))
    assert build_prediction_table(replace(results, sweep_data=bare)) is None
    assert describe_predictions(replace(results, sweep_data=bare)) == []
