"""Fixtures of the tests of the analysis: synthetic sweeps that are written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.report.build import ReportResult, build_report
from analysis.results.results import Results
from tests.helpers import fake_published_sets, fake_sweep
from tests.helpers.analyzed_sweeps import analyze_fake_sweep, analyze_sweep
from tests.helpers.fake_published_sets import score_by_arm
from tests.helpers.fake_sweep import Truth
from uniclip.store import PrimaryMetric, Store


@pytest.fixture(scope="session")
def complete_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of the complete synthetic sweep."""
    return tmp_path_factory.mktemp("complete")


@pytest.fixture(scope="session")
def complete_results(complete_root: Path) -> Results:
    """Return the results of a complete synthetic sweep: 3 seeds, only awareness has an effect."""
    return analyze_fake_sweep(complete_root)


@pytest.fixture(scope="session")
def published_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Return results on published data sets: 3 seeds, the arm "full" is far ahead."""
    value = score_by_arm({"full": 0.7, "full-again": 0.9})
    root = tmp_path_factory.mktemp("published")
    return analyze_sweep(*fake_published_sets.make(root, value=value))


@pytest.fixture(scope="session")
def built_report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, ReportResult]:
    """Build the report of a sweep with two primary scores, a diverged and a missing run."""
    truth = Truth(diverged=(("clip", 1),), missing=(("no-mp-nce", 2),))
    store, sweep_id = fake_sweep.make(tmp_path_factory.mktemp("a store"), truth)
    co_primary = PrimaryMetric(dataset="openmoji", metric="zeroshot.skin_tone")
    plan = replace(fake_sweep.plan(truth), co_primary_metric=co_primary)
    store.get_sweep(sweep_id).write_plan(plan)
    return store, sweep_id, build_report(store, sweep_id)
