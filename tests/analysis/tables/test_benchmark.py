"""Tables of published sets: one intersection, one kind of score, one protocol, and no silence."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.collect.frame import collect_sweep_data
from analysis.report import summary
from analysis.results import benchmark
from analysis.results.benchmark import Panel
from analysis.results.results import Results, analyze
from analysis.tables import scores
from analysis.tables.table import Table, to_csv, to_html, to_latex, to_markdown
from tests.helpers import fake_published_sets, fake_sweep
from tests.helpers.fake_published_sets import HASH, SAMPLES, by_arm
from tests.helpers.fake_sweep import Truth
from uniclip.evaluate.checks import near_duplicates
from uniclip.store import Cell, Plan, Store


def found(store: Store, sweep: str) -> Results:
    return analyze(store, collect_sweep_data(store, sweep))


def panels(findings: Results) -> dict[str, Panel]:
    return {p.name: p for p in benchmark.build_panels(findings)}


def named(findings: Results) -> dict[str, Table]:
    return {t.name: t for t in scores.build_tables(findings)}


def records(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(to_csv(table).splitlines()))


def one(table: Table, **wanted: str) -> dict[str, str]:
    (row,) = [r for r in records(table) if all(r[k] == v for k, v in wanted.items())]
    return row


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Three seeds; "full" is far ahead."""
    value = by_arm({"full": 0.7, "full-again": 0.9})
    return found(*fake_published_sets.make(tmp_path_factory.mktemp("store"), value=value))


def test_a_mean_is_of_one_kind_over_one_intersection(whole: Results) -> None:
    table = named(whole)["zero_shot"]
    value = by_arm({"full": 0.7, "full-again": 0.9})
    cells = [c for c in whole.plan.cells if c.arm == "full"]
    sets = ("cifar10", "dtd", "flowers102")
    means = [math.fsum(value(c, d) for d in sets) / 3 for c in cells]
    row = one(table, arm="full", dataset="mean of 3", score="zeroshot")
    assert float(row["mean"]) == pytest.approx(np.mean(means))
    low, high = stats.t.interval(0.95, 2, np.mean(means), stats.sem(means))
    assert (float(row["low"]), float(row["high"])) == pytest.approx((low, high))
    assert row["runs"].split() == [c.run_id for c in cells]
    assert "mean of 3" in table.headings
    assert "voc2007 (mAP)" in table.headings
    text = to_markdown(table)
    assert "The mean of 3: cifar10, dtd, flowers102." in text
    assert "voc2007: in no mean, the only one with its kind of score." in text
    assert {r["dataset"] for r in records(table) if r["in_mean"] == "true"} == set(sets)
    assert f"{np.mean(means):.3f}" in text
    retrieval = panels(whole)["retrieval_captions"]
    assert {(c.score, c.datasets) for c in retrieval.mean_columns} == {
        (f"retrieval.i2t.r{k}", ("flickr30k", "coco")) for k in (1, 5, 10)
    }


def test_a_set_that_one_counted_run_lacks_is_in_no_mean(tmp_path: Path) -> None:
    def value(cell: Cell, dataset: str) -> float | None:
        if (cell.arm, cell.seed, dataset) == ("clip", 1, "dtd"):
            return None
        return 0.3 if dataset == "dtd" else 0.6

    truth = Truth(missing=(("none", 2),), diverged=(("clip", 0),))
    findings = found(*fake_published_sets.make(tmp_path, truth, value))
    panel = panels(findings)["zero_shot"]
    assert panel.common_datasets == ("cifar10", "flowers102", "voc2007")
    assert panel.excluded_datasets == {"dtd": "1 of 10 counted runs lack it"}
    table = named(findings)["zero_shot"]
    for arm in ("full", "clip", "none"):  # not dragged down by dtd, in any arm
        assert _mean_of_two(table, arm) == pytest.approx(0.6)
    text = to_markdown(table)
    assert "dtd: in no mean, 1 of 10 counted runs lack it." in text
    rows = {row[0].text: row for row in table.rows}
    assert rows["CLIP"][-1].text == "2 of 3 (1 diverged)"
    assert rows["no component"][-1].text == "2 of 3 (1 not there yet)"
    assert "1 runs diverged and are left out" in text
    assert float(one(table, arm="clip", dataset="cifar10")["worst_case"]) < 0.6


def _mean_of_two(table: Table, arm: str) -> float:
    return float(one(table, arm=arm, dataset="mean of 2", score="zeroshot")["mean"])


def test_what_is_missing_is_na_and_says_how_to_get_it(whole: Results) -> None:
    made = named(whole)
    table = made["zero_shot"]
    column = table.headings.index("sun397")
    assert {row[column].text for row in table.rows[1:-1]} == {"n/a"}
    text = to_markdown(table)
    assert "sun397: n/a: missing, there is no &lt;data\\_root>/sun397; data download sun397" in text
    assert one(table, dataset="imagenet")["missing"].endswith("data download imagenet")
    assert not any("sun397" in note for note in made["scores"].notes)
    for name, made_table in made.items():
        for written in (to_markdown(made_table), to_csv(made_table), to_latex(made_table)):
            assert "/somewhere" not in written, name
    assert any(
        "2 of 8 published data sets are not here" in s
        for s in summary.build_summary_sentences(whole)
    )


def test_chance_samples_and_calibration_stand_beside(whole: Results) -> None:
    made = named(whole)
    first, last = made["zero_shot"].rows[0], made["zero_shot"].rows[-1]
    assert (first[0].text, first[1].text) == ("chance", "0.100")
    assert (last[0].text, last[1].text) == ("test samples", str(SAMPLES))
    assert "calibration error, mean of 3" in made["zero_shot"].headings
    row = one(made["calibration"], arm="full", dataset="dtd")
    assert float(row["mean"]) == pytest.approx(
        float(one(made["zero_shot"], arm="full", dataset="dtd")["mean"]) - 0.4
    )
    assert row["bold"] == "false"
    assert "dtd" in made["calibration"].headings, "without a star: there are enough samples"


def test_bold_only_where_the_interval_says_so(whole: Results, tmp_path: Path) -> None:
    table = named(whole)["zero_shot"]
    bold = {r["arm"] for r in records(table) if r["bold"] == "true"}
    assert bold == {"full"}  # the A/A arm scores more, and is no candidate
    assert r"\textbf{0.7" in to_latex(table)
    assert r"\toprule" in to_latex(table)
    value = by_arm({"full": 0.7})
    two = named(found(*fake_published_sets.make(tmp_path / "two", Truth(seeds=(0, 1)), value)))[
        "zero_shot"
    ]
    assert not any(e.bold for row in two.rows for e in row)
    cell = next(row for row in two.rows if row[0].text.startswith("UniCLIP, all"))[1]
    assert re.fullmatch(r"0\.\d{3} / 0\.\d{3}", cell.text)
    same = named(found(*fake_published_sets.make(tmp_path / "same", value=by_arm({}, noise=0.05))))
    assert not any(e.bold for row in same["zero_shot"].rows for e in row)


def test_every_number_links_to_its_runs(whole: Results) -> None:
    made = named(whole)
    page = to_html(made["zero_shot"]) + to_html(made["runs"])
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links == {f"runs-{a.name}" for a in whole.plan.arms}
    assert links <= set(re.findall(r'id="([^"]+)"', page))
    with_values = [r for r in records(made["zero_shot"]) if r["mean"]]
    assert len(with_values) > 20
    assert all(len(r["runs"].split()) == int(r["seeds"]) for r in with_values)
    hashes = {r["evaluation"] for r in with_values if not r["dataset"].startswith("mean")}
    assert hashes <= set(HASH.values())


def test_two_protocols_are_never_in_one_table(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        other = {d: h[::-1] for d, h in HASH.items() if d in fake_published_sets.HERE}
        evaluations = {
            **plan.evaluation_hashes,
            "clip": {**plan.evaluation_hashes["clip"], **other},
        }
        moved = fake_published_sets.with_arm(plan, "clip", {"runtime.protocol": "slip2021"})
        return replace(moved, evaluation_hashes=evaluations)

    findings = found(*fake_published_sets.make(tmp_path, change=change))
    made = panels(findings)
    assert {a.name for a in made["zero_shot_slip2021"].arms} == {"clip"}
    assert "clip" not in {a.name for a in made["zero_shot_clip2021"].arms}
    for panel in made.values():
        assert len({c.evaluation for c in panel.columns}) == len(panel.columns) // len(panel.scores)
    rows = records(named(findings)["zero_shot_clip2021"])
    assert {r["protocol"] for r in rows} == {"clip2021"}


def test_other_data_under_one_name_is_another_column(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        own = {**plan.evaluation_hashes["clip"], "dtd": "ffffffff"}
        return replace(plan, evaluation_hashes={**plan.evaluation_hashes, "clip": own})

    panel = panels(found(*fake_published_sets.make(tmp_path, change=change)))["zero_shot"]
    columns = [c for c in panel.columns if c.datasets == ("dtd",)]
    assert [set(c.observations.values) & {"clip", "full"} for c in columns] == [{"full"}, {"clip"}]
    assert panel.excluded_datasets["dtd"] == "arms were judged on different data"


def test_few_samples_are_shown_and_never_judged(tmp_path: Path) -> None:
    store, sweep = fake_published_sets.make(tmp_path, value=by_arm({"full": 0.7}))
    findings = found(store, sweep)
    frame = findings.sweep_data.frame
    frame.loc[frame["dataset"] == "dtd", "shown_only"] = True
    findings = analyze(store, replace(findings.sweep_data, frame=frame))
    panel = panels(findings)["zero_shot"]
    assert panel.excluded_datasets == {"dtd": "fewer than 50 test samples"}
    (dtd,) = [c for c in panel.columns if c.datasets == ("dtd",)]
    assert dtd.tied_for_best == frozenset()
    assert "dtd*" in named(findings)["zero_shot"].headings


def test_no_set_is_here(tmp_path: Path) -> None:
    def change(plan: Plan) -> Plan:
        none = {a.name: {"openmoji": fake_sweep.EVALUATION} for a in plan.arms}
        gone = {d: f"there is no /somewhere/sets/{d}; get {d}" for d in HASH}
        return replace(plan, evaluation_hashes=none, missing_datasets=gone)

    made = named(found(*fake_published_sets.make(tmp_path, change=change)))
    text = to_markdown(made["zero_shot"])
    assert text.count("n/a: missing, there is no") == 6
    assert "No mean: " in text
    assert "alarms" not in made
    assert "UniCLIP" in to_markdown(made["published_zero_shot"])


def test_a_set_without_training_pictures_is_na_in_the_probe_alone(tmp_path: Path) -> None:
    lacking = "there is no /somewhere/sets/dtd/train; data download dtd"
    store = fake_published_sets.make(
        tmp_path, change=lambda plan: replace(plan, missing_probe_data={"dtd": lacking})
    )
    made = named(found(*store))
    column = made["linear_probe"].headings.index("dtd")
    assert {row[column].text for row in made["linear_probe"].rows[1:-1]} == {"n/a"}
    text = to_markdown(made["linear_probe"])
    assert "dtd: n/a: missing, there is no &lt;data\\_root>/dtd/train; data download dtd" in text
    assert one(made["zero_shot"], arm="full", dataset="dtd")["mean"]


def test_a_sweep_without_published_sets_has_none_of_these_tables(tmp_path: Path) -> None:
    made = named(found(*fake_sweep.make(tmp_path)))
    assert not [name for name in made if name.startswith(("zero_shot", "published", "alarms"))]


# ---- alarms --------------------------------------------------------------------------------------


def test_alarms_are_told_with_their_numbers(tmp_path: Path) -> None:
    near = np.full(SAMPLES, near_duplicates.DISTINCT, np.int8)
    near[:40], near[40:50] = near_duplicates.DUPLICATE, near_duplicates.UNDECIDABLE
    outcome = np.arange(SAMPLES) < 120  # all near-duplicates are right: 120 of 400, 80 of 360

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        wrong = dataset == "flowers102" and cell.arm == "clip"
        order = {
            "zeroshot.permuted_accuracy": np.array([0.02, 0.55] if wrong else [0.5, 0.5]),
            "zeroshot.labels_misordered": np.array([wrong]),
        }
        leak = {"near_duplicate": near, "zeroshot": outcome} if dataset == "dtd" else {}
        return {**({} if dataset in ("flickr30k", "coco") else order), **leak}

    findings = found(*fake_published_sets.make(tmp_path, extra=extra))
    table = named(findings)["alarms"]
    rows = {row[0].text: [e.text for e in row] for row in table.rows}
    alarm = "ALARM: in 3 of 12 runs, accuracy 0.020 as named, 0.550 renamed"
    assert rows["flowers102"][1] == alarm
    assert rows["dtd"][1:] == [
        "no",
        "12 of 12",
        "40 of 400 test pictures are near-duplicates of training pictures (10 too plain to tell)",
        "zero-shot accuracy 0.300, without them 0.222",
    ]
    assert rows["flickr30k"][1:] == ["not checked", "12 of 12", "not checked", ""]
    row = one(table, dataset="dtd", arm="full", seed="1")
    assert float(row["without_near_duplicates"]) == pytest.approx(80 / 360)
    assert row["runs"] == fake_sweep.run_id("full", 1)
    said = list(summary.build_terminal_summary(findings))
    assert any("flowers102: labels and class names may be in different" in line for line in said)
    assert any("dtd: 40 of 400 test pictures are near-duplicates" in line for line in said)


def test_near_duplicates_among_other_pictures_are_not_compared(tmp_path: Path) -> None:
    near = np.full(9, near_duplicates.DUPLICATE, np.int8)

    def extra(cell: Cell, dataset: str) -> Mapping[str, np.ndarray]:
        return {"near_duplicate": near, "zeroshot": np.arange(SAMPLES) < 120} if dataset == "dtd" else {}

    table = named(found(*fake_published_sets.make(tmp_path, extra=extra)))["alarms"]
    rows = {row[0].text: [e.text for e in row] for row in table.rows}
    assert rows["dtd"][4] == "zero-shot accuracy 0.300, without them not comparable"


def test_chance_is_an_alarm(tmp_path: Path) -> None:
    findings = found(*fake_published_sets.make(tmp_path, value=lambda cell, dataset: 0.1))
    rows = {row[0].text: row for row in named(findings)["alarms"].rows}
    assert rows["dtd"][2].text == "0 of 12"
    assert rows["dtd"][2].tone == "bad"
    assert "voc2007" not in rows, "a mean average precision, and nothing else was kept"
