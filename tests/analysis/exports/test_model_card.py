"""Model cards: numbers of the store, rounded as in tables, and unrounded in the metadata."""

from __future__ import annotations

import statistics
from pathlib import Path

from huggingface_hub import ModelCard

from analysis.exports.model_card import build_model_card
from tests.helpers import exported_sweeps


def test_the_card_has_the_scores_of_the_store(tmp_path: Path) -> None:
    source = exported_sweeps.make_source(tmp_path)
    cell = next(cell for cell in source.iter_cells() if cell.arm == "full")
    value = cell.score_values["openmoji/retrieval.r1"]
    arm_scores = {"openmoji/retrieval.r1": [value, value + 0.02]}
    card = ModelCard(build_model_card(cell, source.plan, arm_scores, "encoders"))
    results = card.data.eval_results
    assert results is not None
    stored = {(r.dataset_type, r.metric_type): r.metric_value for r in results}
    assert stored == {("openmoji", s.name): s.value for s in cell.scores.values()}
    (row,) = [line for line in card.text.splitlines() if "| retrieval.r1 |" in line]
    shown = [column.strip() for column in row.split("|")]
    assert abs(float(shown[3].removesuffix("%")) - 100 * value) < 0.5
    mean = float(shown[4].split()[0])
    assert abs(mean - 100 * statistics.fmean(arm_scores["openmoji/retrieval.r1"])) < 0.5
    assert shown[5] == "2"
    assert cell.run_id in card.text


def test_the_card_of_a_run_without_scores_says_so(tmp_path: Path) -> None:
    source = exported_sweeps.make_source(tmp_path)
    cell = next(cell for cell in source.iter_cells() if cell.arm == "clip")
    card = ModelCard(build_model_card(cell, source.plan, {}, "transformers"))
    assert card.data.eval_results is None
    assert "the run is not evaluated" in card.text
