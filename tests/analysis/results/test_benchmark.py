"""Panels of published data sets: one intersection, one kind of score, one protocol."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results import benchmark
from analysis.results.benchmark import Panel
from analysis.results.results import Results, analyze
from analysis.tables.table import to_markdown
from tests.helpers import fake_published_sets
from tests.helpers.analyzed_sweeps import (
    analyze_sweep,
    read_records,
    select_record,
    tables_by_name,
)
from tests.helpers.fake_published_sets import EVALUATION_HASHES, score_by_arm
from tests.helpers.fake_sweep import Truth
from uniclip.store import Cell, Plan


def panels_by_name(results: Results) -> dict[str, Panel]:
    return {p.name: p for p in benchmark.build_panels(results)}


def test_means_cover_one_kind_of_score_over_one_intersection(published_results: Results) -> None:
    panels = panels_by_name(published_results)
    assert list(panels) == [
        "zero_shot", "linear_probe", "image_to_text_retrieval", "text_to_image_retrieval"
    ]  # fmt: skip
    retrieval = panels["image_to_text_retrieval"]
    assert {(c.score, c.datasets) for c in retrieval.mean_columns} == {
        (f"retrieval.i2t.r{k}", ("flickr30k", "coco")) for k in (1, 5, 10)
    }
    zero_shot = panels["zero_shot"]
    in_mean = {c.dataset for c in zero_shot.columns if zero_shot.in_mean(c)}
    assert in_mean == {"cifar10", "dtd", "flowers102"}, "voc2007 alone has an average precision"
    calibration = benchmark.build_calibration_panel(published_results, zero_shot)
    assert {c.kind for c in calibration.columns} == {"error"}
    assert not any(c.tied_for_best for c in calibration.columns)


def test_shifts_have_a_mean_of_their_own(published_results: Results) -> None:
    panel = panels_by_name(published_results)["zero_shot"]
    first = next(c for c in panel.columns if panel.in_mean(c))
    columns = [
        replace(first, datasets=(name,)) for name in ("imagenet_a", "cifar10", "imagenet_r", "dtd")
    ]
    means = list(benchmark._build_mean_columns(panel.arms, columns, published_results.plan.looks))
    assert {(m.dataset, m.datasets) for m in means} == {
        ("mean of 2 shifts", ("imagenet_a", "imagenet_r")),
        ("mean of 2", ("cifar10", "dtd")),
    }


def test_a_data_set_that_one_counted_run_lacks_is_in_no_mean(tmp_path: Path) -> None:
    def value(cell: Cell, dataset: str) -> float | None:
        if (cell.arm, cell.seed, dataset) == ("clip", 1, "dtd"):
            return None
        return 0.3 if dataset == "dtd" else 0.6

    truth = Truth(missing=(("none", 2),), diverged=(("clip", 0),))
    results = analyze_sweep(*fake_published_sets.make(tmp_path, truth, value))
    panel = panels_by_name(results)["zero_shot"]
    assert panel.common_datasets == ("cifar10", "flowers102", "voc2007")
    assert panel.excluded_datasets == {"dtd": "1 of 10 counted runs lack it"}
    table = tables_by_name(results)["zero_shot"]
    for arm in ("full", "clip", "none"):  # the same data sets for every arm
        assert float(
            select_record(table, arm=arm, dataset="mean of 2", score="zeroshot")["mean"]
        ) == pytest.approx(0.6)
    text = to_markdown(table)
    assert "dtd: in no mean, 1 of 10 counted runs lack it." in text
    rows = {row[0].text: row for row in table.rows}
    assert rows["CLIP"][-1].text == "2 of 3 (1 diverged)"
    assert rows["no component"][-1].text == "2 of 3 (1 missing)"
    assert "1 runs diverged and are excluded" in text
    assert float(select_record(table, arm="clip", dataset="cifar10")["worst_case_mean"]) < 0.6


def test_two_protocols_are_never_in_one_table(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        other_hashes = {
            d: h[::-1] for d, h in EVALUATION_HASHES.items() if d in fake_published_sets.PRESENT
        }
        evaluations = {
            **plan.evaluation_hashes,
            "clip": {**plan.evaluation_hashes["clip"], **other_hashes},
        }
        moved = fake_published_sets.replace_arm_config(
            plan, "clip", {"runtime.protocol": "slip2021"}
        )
        return replace(moved, evaluation_hashes=evaluations)

    results = analyze_sweep(*fake_published_sets.make(tmp_path, change=change))
    panels = panels_by_name(results)
    assert {a.name for a in panels["zero_shot_slip2021"].arms} == {"clip"}
    assert "clip" not in {a.name for a in panels["zero_shot_clip2021"].arms}
    for panel in panels.values():
        assert len({c.evaluation_hash for c in panel.columns}) == len(panel.columns) // len(
            panel.scores
        )
    rows = read_records(tables_by_name(results)["zero_shot_clip2021"])
    assert {r["protocol"] for r in rows} == {"clip2021"}


def test_other_data_of_the_same_name_has_its_own_column(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        clip_hashes = {**plan.evaluation_hashes["clip"], "dtd": "ffffffff"}
        return replace(plan, evaluation_hashes={**plan.evaluation_hashes, "clip": clip_hashes})

    panel = panels_by_name(analyze_sweep(*fake_published_sets.make(tmp_path, change=change)))[
        "zero_shot"
    ]
    columns = [c for c in panel.columns if c.datasets == ("dtd",)]
    assert [set(c.observations.values) & {"clip", "full"} for c in columns] == [{"full"}, {"clip"}]
    assert panel.excluded_datasets["dtd"] == "arms were evaluated on different data"


def test_scores_of_few_samples_are_reported_only(tmp_path: Path) -> None:
    store, sweep = fake_published_sets.make(tmp_path, value=score_by_arm({"full": 0.7}))
    results = analyze_sweep(store, sweep)
    frame = results.sweep_data.frame
    frame.loc[frame["dataset"] == "dtd", "report_only"] = True
    results = analyze(store, replace(results.sweep_data, frame=frame))
    panel = panels_by_name(results)["zero_shot"]
    assert panel.excluded_datasets == {"dtd": "fewer than 50 test samples"}
    (dtd,) = [c for c in panel.columns if c.datasets == ("dtd",)]
    assert dtd.tied_for_best == frozenset()
    assert "dtd*" in tables_by_name(results)["zero_shot"].headings
