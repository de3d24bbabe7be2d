"""Data checks of single runs; their table is tested in tables/test_alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.collect.frame import collect_sweep_data
from analysis.results.alarms import (
    check_published_scores,
    describe_changed_contents,
    describe_unreadable_images,
    select_checks,
)
from analysis.tables.alarms import format_data_check_warnings
from tests.helpers import fake_published_sets
from tests.helpers.fake_published_sets import NUM_SAMPLES
from tests.helpers.labs import edit_json
from uniclip.evaluate.checks import near_duplicates
from uniclip.io.atomic import append_jsonl
from uniclip.store import Cell, Plan


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


def test_the_table_of_the_user_is_checked_too(tmp_path: Path) -> None:
    labels = np.full(NUM_SAMPLES, near_duplicates.DISTINCT, np.int8)
    labels[:30] = near_duplicates.DUPLICATE
    is_correct = np.arange(NUM_SAMPLES) < 100

    def add_table(plan: Plan) -> Plan:
        hashes = {a: {**h, "csv": "0123abcd"} for a, h in plan.evaluation_hashes.items()}
        return replace(plan, evaluation_hashes=hashes)

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        arrays = {"near_duplicate": labels, "retrieval.i2t.r1": is_correct}
        return arrays if dataset == "csv" else {}

    store, sweep = fake_published_sets.make(tmp_path, change=add_table, extra=extra)
    checks = check_published_scores(store, collect_sweep_data(store, sweep))
    table, *others = select_checks(checks, "csv")
    assert len(others) == 11, "one check per run"
    assert (table.num_near_duplicates, table.num_samples) == (30, NUM_SAMPLES)
    assert table.value_without_duplicates == pytest.approx(70 / 370)
    (warning,) = [
        w
        for w in format_data_check_warnings(checks, fake_published_sets.build_plan().arms[0], {})
        if w.startswith("csv: ")
    ]
    assert "30 of 400 test images are near-duplicates of training images" in warning


def test_replaced_training_images_are_named(tmp_path: Path) -> None:
    store, sweep = fake_published_sets.make(tmp_path)
    sweep_data = collect_sweep_data(store, sweep)
    assert describe_unreadable_images(store, sweep_data) == []
    for number, cell in enumerate(sweep_data.plan.cells[:2], start=2):
        attempt = store.get_run(cell.run_id).get_attempt(1)
        attempt.path.mkdir(parents=True, exist_ok=True)
        record = {"phase": "train", "step": 1, "loss": 1.0, "unreadable_images": number}
        append_jsonl(attempt.metrics_path, record)
        for i in range(number + 2):
            attempt.log_event("unreadable_image", message=f"x.csv line {i}: image {i}.png")
    (sentence,) = describe_unreadable_images(store, collect_sweep_data(store, sweep))
    assert "2 to 3 in each of 2 runs: x.csv line 0: image 0.png; " in sentence
    assert sentence.endswith("; and 2 more.")


def test_runs_of_other_shards_are_named(tmp_path: Path) -> None:
    store, sweep = fake_published_sets.make(tmp_path)
    plan = collect_sweep_data(store, sweep).plan
    for number, cell in enumerate(plan.cells):
        content = dict.fromkeys(("k", "labelled"), "other" if number == 1 else "usual")
        content = content if number else {}  # one is unknown
        edit_json(store.get_run(cell.run_id).path / "outcome.json", data_content=content)
    sweep_data = collect_sweep_data(store, sweep)
    (sentence,) = describe_changed_contents(sweep_data)
    odd = plan.cells[1]
    assert sentence.endswith(f"names and sizes that hold other samples: {odd.arm}/{odd.seed}.")
    assert describe_changed_contents(replace(sweep_data, data_contents={})) == []
