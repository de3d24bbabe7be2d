"""The variance of a score by source: which arms it is estimated from, and its table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results.results import Results
from analysis.results.variance import analyze_variance
from analysis.statistics.effects import Observations
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep, read_records, tables_by_name
from tests.helpers.fake_sweep import Truth
from uniclip.store import Plan


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return the results of a sweep with an A/A arm of each kind, in which `clip` is perturbed."""
    truth = Truth(seeds=tuple(range(4)), clip=0.5)
    store, sweep_id = fake_sweep.make(tmp_path_factory.mktemp("variance"), truth)
    plan = fake_sweep.plan(truth)
    diff = {"train.weight_perturbation": 1e-6}
    arms = tuple(
        replace(a, role="noise", config_diff=diff) if a.name == "clip" else a for a in plan.arms
    )
    store.get_sweep(sweep_id).write_plan(replace(plan, arms=arms))
    return analyze_sweep(store, sweep_id)


def test_the_table_has_a_row_for_each_source(results: Results) -> None:
    assert list(results.variance_components) == results.primary_scores
    components = results.variance_components[results.primary_score]
    assert [c.source for c in components] == ["initial_weights", "draws", "rounding", "items"]
    table = tables_by_name(results)["variance"]
    assert len(table.rows) == sum(map(len, results.variance_components.values()))
    for record, component in zip(read_records(table), components):
        assert record["source"] == component.source
        assert float(record["sd"]) == pytest.approx(component.sd)
        assert (record["sd_low"] == "") == (component.source == "items")


def test_both_kinds_of_noise_arms_are_needed(results: Results, tmp_path: Path) -> None:
    one_kind = analyze_sweep(*fake_sweep.make(tmp_path, Truth()))
    assert one_kind.variance_components == {}
    assert "variance" not in tables_by_name(one_kind)


def test_an_arm_that_differs_in_more_is_no_aa_arm(results: Results) -> None:
    plan: Plan = results.plan
    arms = tuple(
        replace(a, config_diff={**a.config_diff, "train.steps": 7}) if a.role == "noise" else a
        for a in plan.arms
    )
    observations: Observations = results.observations[results.primary_score]
    assert analyze_variance(replace(plan, arms=arms), observations, {}) == []
