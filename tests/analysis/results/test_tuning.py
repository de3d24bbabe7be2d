"""Comparison with the default arms: other code, a missing sweep, and changed inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.report import build
from analysis.results.results import find_mixed_training
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_tuned_sweep import make_tuned_sweep
from uniclip.errors import UserError


def test_gains_are_paired_by_seed(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    comparison = analyze_sweep(store, plan.sweep_id).tuning_comparison
    assert comparison is not None
    assert comparison.gains["clip"].values == (0.0, 0.0, 0.0), "the same scores again"
    assert comparison.gains["full"].seeds == (0, 1, 2)
    assert comparison.gains["full"].p_adjusted is None
    assert comparison.runs["clip", 2] == fake_sweep.run_id("clip", 2)


def test_default_runs_of_other_code_are_reported(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    path = store.get_run(fake_sweep.run_id("clip", 2)).path / "outcome.json"
    path.write_text(path.read_text().replace('"training_hash": "t"', '"training_hash": "u"'))
    results = analyze_sweep(store, plan.sweep_id)
    assert find_mixed_training(results) == ["clip/2 (default)"]


def test_the_report_is_built_again_when_a_default_run_changes(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    digest = build.compute_input_digest(store, plan)
    assert build.compute_input_digest(store, plan) == digest
    (store.get_run(fake_sweep.run_id("clip", 0)).path / "outcome.json").unlink()
    assert build.compute_input_digest(store, plan) != digest


def test_a_missing_default_sweep_is_one_line(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    assert plan.tuning is not None
    (store.get_sweep(plan.tuning.default_sweep).path / "plan.json").unlink()
    with pytest.raises(UserError, match="has no sweep components-quick-1a2b3c4d"):
        analyze_sweep(store, plan.sweep_id)
