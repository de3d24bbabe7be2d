"""DataComp's copies: read as written, and scored by the metric of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import datacomp_trees, dataset_trees, stub_models
from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.datacomp import DATACOMP_DATASETS
from uniclip.evaluate.protocols.published import PROTOCOLS

CLASSES = ("zero", "one", "two", "three", "four", "five", "six")


def build_config(root: Path) -> RunConfig:
    of = stub_models.config({"name": "scenes"})
    return replace(of, runtime=replace(of.runtime, data_root=str(root)))


def make_model(of: RunConfig, shift: int, every: int) -> stub_models.Stub:
    """Return a model that names the class in an image's colour, but `shift` away for some classes.

    every: classes that are a multiple of it are confused.
    """
    colours = np.array([dataset_trees.colour(label) for label in range(len(CLASSES))])

    def images(pixels, vectors):
        means = pixels.astype(float).mean(axis=(2, 3))
        label = np.abs(means[:, None] - colours[None]).sum(2).argmin(1)
        return np.eye(len(CLASSES))[np.where(label % every == 0, (label + shift) % 7, label)]

    def texts(prompts):
        return np.eye(len(CLASSES))[[CLASSES.index(p.rstrip(".").split()[-1]) for p in prompts]]

    return stub_models.Stub(of, images, texts)


def test_the_list_is_that_of_datacomp() -> None:
    names = datasets.read_benchmark("datacomp38")
    assert len(names) == 38
    assert {d.name for d in DATACOMP_DATASETS} < set(names)
    images = [d.expected_counts["test"] for d in DATACOMP_DATASETS if d.kind == "classification"]
    assert sum(images) == 243_963


def test_names_and_templates_are_those_of_the_copy(tmp_path: Path) -> None:
    labels = [3, 0, 6, 1, 5, 2]
    datacomp_trees.write_copy(tmp_path / "wds_vtab-svhn_test", CLASSES, labels)
    of = build_config(tmp_path)
    protocol = evaluate.build_protocol("svhn", of)
    assert protocol["templates"] == ["a photo of {}.", "an image of {}."]
    assert evaluate.describe_missing_probe_data("svhn", of) is None
    scores, _ = evaluate.evaluate("svhn", make_model(of, 0, 1), of)
    assert stub_models.values(scores)["zeroshot"] == 1


def test_the_worst_region_of_fmow_is_never_other(tmp_path: Path) -> None:
    labels = [0, 1, 2, 3, 4, 5, 6, 1]
    regions = [0, 0, 0, 1, 1, 3, 5, 3]
    rows = [[region, 2016, label] for region, label in zip(regions, labels)]
    datacomp_trees.write_copy(tmp_path / "wds_wilds-fmow_test", CLASSES, labels, rows)
    of = build_config(tmp_path)
    # 0, 3 and 6 are wrong: region 0 has 2 of 3, region 1 has 1 of 2, region 3 all, Other none.
    scores, predictions = evaluate.evaluate("fmow", make_model(of, 1, 3), of)
    by_name = {s.name: s for s in scores}
    assert by_name["zeroshot"].value == 1 / 2
    assert by_name["zeroshot"].kind == "worst_group"
    assert by_name["zeroshot"].chance == 1 / 7
    groups = {name: s.value for name, s in by_name.items() if name.startswith("zeroshot.group")}
    assert groups == {
        "zeroshot.group[0]": pytest.approx(2 / 3),
        "zeroshot.group[1]": 1 / 2,
        "zeroshot.group[3]": 1,
    }
    assert by_name["zeroshot.accuracy"].value == 5 / 8
    assert len(predictions["zeroshot.accuracy"]) == 8
    assert evaluate.build_protocol("fmow", of)["metric"] == "worst_group"


def test_the_worst_income_of_dollar_street_is_scored_by_top_5(tmp_path: Path) -> None:
    labels, incomes = [0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2]
    rows = [[income, 100, 2] for income in incomes]
    datacomp_trees.write_copy(tmp_path / "wds_dollar_street_test", CLASSES, labels, rows)
    of = build_config(tmp_path)
    scores, _ = evaluate.evaluate("dollar_street", make_model(of, 1, 2), of)
    by_name = {s.name: s for s in scores}
    # A wrong class ties with five others for places 2 to 7, of which the top 5 takes four.
    assert by_name["zeroshot"].value == pytest.approx((4 / 6 + 1) / 2)
    assert by_name["zeroshot"].chance == 5 / 7


def test_iwildcam_is_scored_by_the_f1_of_the_classes_that_occur(tmp_path: Path) -> None:
    from sklearn.metrics import f1_score

    labels = [0, 0, 1, 2, 3, 3, 3]
    datacomp_trees.write_copy(tmp_path / "wds_wilds-iwildcam_test", CLASSES, labels)
    of = build_config(tmp_path)
    scores, predictions = evaluate.evaluate("iwildcam", make_model(of, 4, 3), of)
    by_name = {s.name: s for s in scores}
    expected = f1_score(
        *(labels, predictions["zeroshot.prediction"]), average="macro", labels=[0, 1, 2, 3]
    )
    assert by_name["zeroshot"].value == pytest.approx(expected, abs=1e-12)
    assert by_name["zeroshot"].kind == "f1"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metrics_do_not_depend_on_the_protocol(protocol: str) -> None:
    metrics = {d.name: PROTOCOLS[protocol].get_metric(d.name) for d in DATACOMP_DATASETS}
    assert {n: m for n, m in metrics.items() if m != "accuracy"} == {
        "iwildcam": "f1_macro",
        "fmow": "worst_group",
        "dollar_street": "worst_group_top5",
        "geode": "worst_group",
        "winogavil": "jaccard",
    }


def test_templates_are_noted_for_when_the_copy_is_gone(tmp_path: Path) -> None:
    datacomp_trees.write_copy(tmp_path / "sets/wds_vtab-resisc45_test", CLASSES, [0, 1, 2])
    of, cache = build_config(tmp_path / "sets"), tmp_path / "cache"
    scores, _ = evaluate.evaluate("resisc45", make_model(of, 0, 1), of, cache, "model")
    planned = evaluate.build_protocol("resisc45", of, cache)
    (tmp_path / "sets").rename(tmp_path / "away")
    assert evaluate.describe_missing("resisc45", of, cache) is None
    assert evaluate.build_protocol("resisc45", of, cache) == planned
