"""Data checks of single runs; their table is tested in tables/test_alarms."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.results.alarms import check_published_scores, select_checks
from tests.helpers import fake_published_sets
from tests.helpers.fake_published_sets import NUM_SAMPLES
from uniclip.evaluate.checks import near_duplicates
from uniclip.store import Cell


def test_saved_arrays_are_counted(tmp_path: Path) -> None:
    labels = np.full(NUM_SAMPLES, near_duplicates.DISTINCT, np.int8)
    labels[:40], labels[40:50] = near_duplicates.DUPLICATE, near_duplicates.UNDECIDABLE
    is_correct = np.arange(NUM_SAMPLES) < 120

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        return {"near_duplicate": labels, "zeroshot": is_correct} if dataset == "dtd" else {}

    store, sweep = fake_published_sets.make(tmp_path, extra=extra)
    checks = check_published_scores(store, collect_sweep_data(store, sweep))
    dtd, *others = select_checks(checks, "dtd")
    assert len(others) == 11, "one check per run"
    assert (dtd.num_near_duplicates, dtd.num_undecidable, dtd.num_samples) == (40, 10, NUM_SAMPLES)
    assert dtd.value == pytest.approx(120 / 400)
    assert dtd.value_without_duplicates == pytest.approx(80 / 360)
    assert (dtd.above_chance, dtd.label_order_differs) == (True, None)
    cifar = select_checks(checks, "cifar10")[0]
    assert (cifar.value, cifar.num_near_duplicates, cifar.num_samples) == (None, None, 0)
