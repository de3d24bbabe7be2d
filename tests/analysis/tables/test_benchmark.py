"""Tables of published data sets: missing data is named, and published values have a source."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.collect import literature
from analysis.report import summary
from analysis.report.html import render_table
from analysis.results.results import Results
from analysis.tables.table import Table, TableCell, to_csv, to_latex, to_markdown
from tests.helpers import fake_published_sets, fake_sweep
from tests.helpers.analyzed_sweeps import (
    analyze_sweep,
    read_records,
    select_record,
    tables_by_name,
)
from tests.helpers.fake_published_sets import EVALUATION_HASHES, NUM_SAMPLES, score_by_arm
from tests.helpers.fake_sweep import Truth
from uniclip.store import Plan


def test_a_mean_has_the_t_interval_over_seeds(published_results: Results) -> None:
    table = tables_by_name(published_results)["zero_shot"]
    value = score_by_arm({"full": 0.7, "full-again": 0.9})
    cells = [c for c in published_results.plan.cells if c.arm == "full"]
    sets = ("cifar10", "dtd", "flowers102")
    means = [math.fsum(value(c, d) for d in sets) / 3 for c in cells]
    row = select_record(table, arm="full", dataset="mean of 3", score="zeroshot")
    assert float(row["mean"]) == pytest.approx(np.mean(means))
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert (float(row["ci_low"]), float(row["ci_high"])) == pytest.approx((low, high))
    assert row["runs"].split() == [c.run_id for c in cells]
    assert "mean of 3" in table.headings
    assert "voc2007 (mAP)" in table.headings
    text = to_markdown(table)
    assert "The mean of 3: cifar10, dtd, flowers102." in text
    assert "voc2007: in no mean, the only one with its kind of score." in text
    assert {r["dataset"] for r in read_records(table) if r["in_mean"] == "true"} == set(sets)
    assert f"{100 * np.mean(means):.1f}" in text


def test_a_missing_data_set_is_na_with_how_to_get_it(published_results: Results) -> None:
    tables = tables_by_name(published_results)
    table = tables["zero_shot"]
    column = table.headings.index("sun397")
    assert {row[column].text for row in table.rows[1:-1]} == {"n/a"}
    text = to_markdown(table)
    assert "sun397: n/a: missing, there is no &lt;data\\_root>/sun397; data download sun397" in text
    assert select_record(table, dataset="imagenet")["missing"].endswith("data download imagenet")
    assert not any("sun397" in note for note in tables["scores"].notes)
    for name, any_table in tables.items():
        for text in (to_markdown(any_table), to_csv(any_table), to_latex(any_table)):
            assert "/somewhere" not in text, name
    assert any(
        "2 of 8 published data sets are missing" in s
        for s in summary.build_summary_sentences(published_results)
    )


def test_chance_samples_and_calibration(published_results: Results) -> None:
    tables = tables_by_name(published_results)
    first, last = tables["zero_shot"].rows[0], tables["zero_shot"].rows[-1]
    assert (first[0].text, first[1].text) == ("chance", "10.0")
    assert (last[0].text, last[1].text) == ("test samples", str(NUM_SAMPLES))
    assert "calibration error, mean of 3" in tables["zero_shot"].headings
    row = select_record(tables["calibration"], arm="full", dataset="dtd")
    assert float(row["mean"]) == pytest.approx(
        float(select_record(tables["zero_shot"], arm="full", dataset="dtd")["mean"]) - 0.4
    )
    assert row["tied_for_best"] == "false"
    assert "dtd" in tables["calibration"].headings, "without a star: there are enough samples"


def test_bold_needs_a_significant_difference(published_results: Results, tmp_path: Path) -> None:
    table = tables_by_name(published_results)["zero_shot"]
    bold = {r["arm"] for r in read_records(table) if r["tied_for_best"] == "true"}
    assert bold == {"full"}  # the A/A arm scores more, and is no candidate
    assert r"\textbf{7" in to_latex(table)
    assert r"\toprule" in to_latex(table)
    value = score_by_arm({"full": 0.7})
    two = tables_by_name(
        analyze_sweep(*fake_published_sets.make(tmp_path / "two", Truth(seeds=(0, 1)), value))
    )["zero_shot"]
    assert not any(e.bold for row in two.rows for e in row)
    cell = next(row for row in two.rows if row[0].text.startswith("UniCLIP, all"))[1]
    assert re.fullmatch(r"\d\d\.\d / \d\d\.\d", cell.text)
    same = tables_by_name(
        analyze_sweep(
            *fake_published_sets.make(tmp_path / "same", value=score_by_arm({}, noise=0.05))
        )
    )
    assert not any(e.bold for row in same["zero_shot"].rows for e in row)


def test_every_number_links_to_its_runs(published_results: Results) -> None:
    tables = tables_by_name(published_results)
    page = render_table(tables["zero_shot"]) + render_table(tables["runs"])
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links == {f"runs-{a.name}" for a in published_results.plan.arms}
    assert links <= set(re.findall(r'id="([^"]+)"', page))
    with_values = [r for r in read_records(tables["zero_shot"]) if r["mean"]]
    assert len(with_values) > 20
    assert all(len(r["runs"].split()) == int(r["num_seeds"]) for r in with_values)
    hashes = {r["evaluation_hash"] for r in with_values if not r["dataset"].startswith("mean")}
    assert hashes <= set(EVALUATION_HASHES.values())


def test_without_any_data_set_published_values_remain(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        none = {a.name: {"openmoji": fake_sweep.EVALUATION} for a in plan.arms}
        gone = {d: f"there is no /somewhere/sets/{d}; get {d}" for d in EVALUATION_HASHES}
        return replace(plan, evaluation_hashes=none, missing_datasets=gone)

    tables = tables_by_name(analyze_sweep(*fake_published_sets.make(tmp_path, change=change)))
    text = to_markdown(tables["zero_shot"])
    assert text.count("n/a: missing, there is no") == 6
    assert "No mean: " in text
    assert "data_checks" not in tables
    assert "UniCLIP" in to_markdown(tables["published_zero_shot"])


def test_a_set_without_training_pictures_is_na_in_the_probe_alselect_record(tmp_path: Path) -> None:
    missing = "there is no /somewhere/sets/dtd/train; data download dtd"
    store = fake_published_sets.make(
        tmp_path, change=lambda plan: replace(plan, missing_probe_data={"dtd": missing})
    )
    tables = tables_by_name(analyze_sweep(*store))
    column = tables["linear_probe"].headings.index("dtd")
    assert {row[column].text for row in tables["linear_probe"].rows[1:-1]} == {"n/a"}
    text = to_markdown(tables["linear_probe"])
    assert "dtd: n/a: missing, there is no &lt;data\\_root>/dtd/train; data download dtd" in text
    assert select_record(tables["zero_shot"], arm="full", dataset="dtd")["mean"]


def test_a_sweep_without_published_sets_has_none_of_these_tables(tmp_path: Path) -> None:
    tables = tables_by_name(analyze_sweep(*fake_sweep.make(tmp_path)))
    assert not [
        name for name in tables if name.startswith(("zero_shot", "published", "data_checks"))
    ]


# ---- published values ----------------------------------------------------------------------------


def build_published_tables(
    root: Path, change: Callable[[Plan], Plan] = lambda plan: plan
) -> dict[str, Table]:
    return tables_by_name(analyze_sweep(*fake_published_sets.make(root, change=change)))


@pytest.fixture(scope="module")
def published_tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    return build_published_tables(tmp_path_factory.mktemp("store"))


def find_row(table: Table, method: str) -> tuple[TableCell, ...]:
    return next(r for r in table.rows if r[0].text == method and r[1].text == "ViT-B/32")


def test_published_values_are_those_of_the_panel(published_tables: dict[str, Table]) -> None:
    for name, score in (("zero_shot", "zeroshot"), ("linear_probe", "probe")):
        table = published_tables[f"published_{name}"]
        shown = read_records(table)
        sets = {*fake_published_sets.PRESENT, *fake_published_sets.MISSING}
        wanted = [
            r for r in literature.load_published_results() if r.score == score and r.dataset in sets
        ]
        assert len(shown) == len(wanted) > 10
        assert {r["score"] for r in shown} == {score}
        assert not any(e.bold for row in table.rows for e in row)
    assert "dtd" in published_tables["published_zero_shot"].headings
    assert "voc2007" not in published_tables["published_zero_shot"].headings, (
        "nobody published it here"
    )
    assert "mean over 14" not in to_markdown(published_tables["published_zero_shot"])
    directions = (
        published_tables["published_image_to_text_retrieval"],
        published_tables["published_text_to_image_retrieval"],
    )
    clip = [next(row for row in t.rows if row[0].text == "CLIP") for t in directions]
    column = directions[0].headings.index("flickr30k R@1")
    assert [row[column].text for row in clip] == ["34.9", "23.4"]


def test_an_implausible_value_has_a_note(published_tables: dict[str, Table]) -> None:
    table = published_tables["published_zero_shot"]
    rows = [row for row in table.rows if row[table.headings.index("flowers102")].text == "8.0"]
    (row,) = rows
    assert row[0].text == "UniCLIP"
    note = row[table.headings.index("note")].text
    assert note == "flowers102: other methods on YFCC15M have 49 to 64; cause unknown"
    others = [
        r.value
        for r in literature.load_published_results()
        if (r.dataset, r.task, r.pretraining_data) == ("flowers102", "zero_shot", "YFCC15M")
    ]
    assert (round(min(others)), round(max(others))) == (49, 64)
    assert "cause unknown" in to_latex(table)


def test_setups_are_compared_with_those_of_the_arms(
    published_tables: dict[str, Table], tmp_path: Path
) -> None:
    table = published_tables["published_zero_shot"]
    column = table.headings.index("setup compared with the arms")
    by_row = {(r[0].text, r[1].text, r[2].text): r[column].text for r in table.rows}
    assert by_row["CLIP", "ViT-B/32", "YFCC15M"] == "unknown: protocol not stated"
    assert by_row["SLIP", "ViT-B/16", "YFCC15M"] == "differs in: backbone, protocol"
    swin = by_row["UniCL", "Swin-T", "IN-21K"]
    assert swin == "differs in: backbone, pre-training data (not stated: protocol)"

    def change(plan: Plan) -> Plan:
        moved = {"data.name": "openmoji"}
        return fake_published_sets.replace_arm_config(plan, "clip", moved)

    table = build_published_tables(tmp_path, change)["published_zero_shot"]
    (mixed,) = {r[column].text for r in table.rows if r[:3] == tuple(find_row(table, "CLIP")[:3])}
    assert "differs in: pre-training data (not stated: protocol) (CLIP)" in mixed
    assert mixed.startswith("unknown: protocol not stated (UniCLIP, all components, ")
