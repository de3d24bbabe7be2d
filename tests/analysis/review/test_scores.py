"""Findings on scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.review.finding import ReviewInput
from analysis.review.scores import check_leakage
from tests.helpers import fake_published_sets, fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.copy_verdicts import make_verdicts
from tests.helpers.fake_published_sets import EVALUATION_HASHES, NUM_SAMPLES
from tests.helpers.reviewed_sweeps import REFERENCE, assert_only_finding
from uniclip.evaluate.checks.copy_search import write_verdicts


@pytest.mark.parametrize(
    ("name", "runs", "num_evaluations"),
    [
        ("floor", {REFERENCE: 4.0}, 0),
        ("ceiling", {}, 10),
        ("leakage", {}, 0),
        ("validation_split", {}, 10),
    ],
)
def test_a_flaw_is_found_with_the_cells_that_answer_it(
    name: str, runs: dict[str, float], num_evaluations: int, tmp_path: Path
) -> None:
    remedy = assert_only_finding(tmp_path, name).remedy
    assert remedy.runs == runs
    assert remedy.num_evaluations == num_evaluations


def test_copies_that_were_searched_by_embedding_are_a_finding(tmp_path: Path) -> None:
    store, sweep_id = fake_published_sets.make(tmp_path)
    run = store.get_run(fake_sweep.run_id("full", 0))
    write_verdicts(run, "dtd", EVALUATION_HASHES["dtd"], make_verdicts(NUM_SAMPLES, 30))
    results = analyze_sweep(store, sweep_id)
    review = ReviewInput(results=results, related_plans=[], further_seeds={})
    (finding,) = check_leakage(review)
    assert finding.evidence == (
        f"dtd: 30 of {NUM_SAMPLES} test images are copies of training images, searched by "
        "embedding (another model)",
    )
