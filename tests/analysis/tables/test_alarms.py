"""Table of data checks: counts, warnings and the score without near-duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from analysis.report import summary
from analysis.report.html import collect_warnings
from tests.helpers import fake_published_sets, fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep, select_record, tables_by_name
from tests.helpers.copy_verdicts import make_verdicts
from tests.helpers.fake_published_sets import EVALUATION_HASHES, NUM_SAMPLES
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.checks.copy_search import write_verdicts
from uniclip.store import Cell


def test_warnings_have_their_numbers(tmp_path: Path) -> None:
    labels = np.full(NUM_SAMPLES, near_duplicates.DISTINCT, np.int8)
    labels[:40], labels[40:50] = near_duplicates.DUPLICATE, near_duplicates.UNDECIDABLE
    outcome = np.arange(NUM_SAMPLES) < 120  # all near-duplicates are right: 120 of 400, 80 of 360

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        misordered = dataset == "flowers102" and cell.arm == "clip"
        order_arrays = {
            "zeroshot.permuted_accuracy": np.array([0.02, 0.55] if misordered else [0.5, 0.5]),
            "zeroshot.labels_misordered": np.array([misordered]),
        }
        duplicate_arrays = (
            {"near_duplicate": labels, "zeroshot": outcome} if dataset == "dtd" else {}
        )
        return {**({} if dataset in ("flickr30k", "coco") else order_arrays), **duplicate_arrays}

    results = analyze_sweep(*fake_published_sets.make(tmp_path, extra=extra))
    table = tables_by_name(results)["data_checks"]
    rows = {row[0].text: [e.text for e in row] for row in table.rows}
    warning = "WARNING: in 3 of 12 runs, accuracy 2.0 % as named, 55.0 % permuted"
    assert rows["flowers102"][1] == warning
    assert rows["dtd"][1:] == [
        "no",
        "12 of 12",
        "40 of 400 test images are near-duplicates of training images (10 too plain to decide)",
        "zero-shot accuracy 30.0 %, without them 22.2 %",
    ]
    assert rows["flickr30k"][1:] == ["not checked", "12 of 12", "leakage unchecked", ""]
    row = select_record(table, dataset="dtd", arm="full", seed="1")
    assert float(row["value_without_near_duplicates"]) == pytest.approx(80 / 360)
    assert row["run"] == fake_sweep.run_id("full", 1)
    lines = list(summary.build_terminal_summary(results))
    assert any("flowers102: labels and class names may be in different" in line for line in lines)
    assert any("dtd: 40 of 400 test images are near-duplicates" in line for line in lines)


@pytest.mark.parametrize("is_hashed", [False, True])
def test_copies_that_only_the_search_by_embedding_found(tmp_path: Path, is_hashed: bool) -> None:
    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        distinct = np.full(NUM_SAMPLES, near_duplicates.DISTINCT, np.int8)
        hashed = {"near_duplicate": distinct} if is_hashed else {}
        return {"zeroshot": np.arange(NUM_SAMPLES) < 120, **hashed} if dataset == "dtd" else {}

    store, sweep_id = fake_published_sets.make(tmp_path, extra=extra)
    run, evaluation_hash = fake_sweep.run_id("full", 0), EVALUATION_HASHES["dtd"]
    copies = make_verdicts(NUM_SAMPLES, 7)
    write_verdicts(store.get_run(run), "dtd", evaluation_hash, copies)
    results = analyze_sweep(store, sweep_id)
    table = tables_by_name(results)["data_checks"]
    (text,) = [row[3].text for row in table.rows if row[0].text == "dtd"]
    warning = collect_warnings(results)[-1]
    expected = (
        "0 of 400 test images are near-duplicates of training images; by embedding 7"
        if is_hashed
        else "7 of 400 test images are copies of training images by embedding; not searched by hash"
    )
    assert text == expected
    assert warning.startswith(f"dtd: {expected}")


def test_near_duplicates_among_other_images_are_not_compared(tmp_path: Path) -> None:
    near = np.full(9, near_duplicates.DUPLICATE, np.int8)

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        return (
            {"near_duplicate": near, "zeroshot": np.arange(NUM_SAMPLES) < 120}
            if dataset == "dtd"
            else {}
        )

    table = tables_by_name(analyze_sweep(*fake_published_sets.make(tmp_path, extra=extra)))[
        "data_checks"
    ]
    rows = {row[0].text: [e.text for e in row] for row in table.rows}
    assert rows["dtd"][4] == "zero-shot accuracy 30.0 %, without them not comparable"


def test_scores_at_chance_are_marked(tmp_path: Path) -> None:
    results = analyze_sweep(*fake_published_sets.make(tmp_path, value=lambda cell, dataset: 0.1))
    rows = {row[0].text: row for row in tables_by_name(results)["data_checks"].rows}
    assert rows["dtd"][2].text == "0 of 12"
    assert rows["dtd"][2].tone == "bad"
    assert "voc2007" not in rows, "it has an average precision only, and saved nothing"
