"""Result files of CLIP_benchmark and DataComp."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.collect.imported_results import read_imported_results
from analysis.page.leaderboard import build_sections, read_results
from uniclip.errors import UserError

CLIP_BENCHMARK = {
    "dataset": "wds/vtab/pets",
    "model": "ViT-B-32",
    "pretrained": "laion2b_s34b_b79k",
    "task": "zeroshot_classification",
    "metrics": {"acc1": 0.91, "acc5": 0.99, "mean_per_class_recall": 0.9},
    "language": "en",
}
DATACOMP = [
    {"key": "wilds/iwildcam", "dataset": "iWildCam", "metrics": {"acc1": 0.2, "F1-macro_all": 0.1}},
    {"key": "voc2007", "dataset": "Pascal VOC 2007", "metrics": {"acc1": 0.8}},
    {"key": "fairness/utkface", "dataset": "UTKFace", "metrics": {"main_metric": None}},
    {
        "key": "retrieval/mscoco_2014_5k_test_image_text_retrieval",
        "dataset": "MSCOCO",
        "metrics": {"image_retrieval_recall@1": 0.3, "text_retrieval_recall@1": 0.5},
    },
]


def write(path: Path, *records: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def test_a_file_of_clip_benchmark_is_read(tmp_path: Path) -> None:
    results = read_imported_results(write(tmp_path / "a.json", CLIP_BENCHMARK))
    assert results is not None
    (result,) = results
    assert result.model == "ViT-B-32 laion2b_s34b_b79k"
    assert result.conditions == "CLIP_benchmark, zeroshot_classification, en"
    assert result.dataset == "oxford_pets"
    assert result.get_value("zeroshot", "mean_per_class") == 0.9
    assert result.get_value("zeroshot", "accuracy") == 0.91
    assert result.get_value("zeroshot", "map11") is None
    assert result.get_value("probe", "accuracy") is None


def test_a_file_of_datacomp_is_read(tmp_path: Path) -> None:
    results = read_imported_results(write(tmp_path / "mine/eval_results.jsonl", *DATACOMP))
    assert results is not None
    assert {r.model for r in results} == {"mine"}
    assert [r.dataset for r in results] == ["iwildcam", "voc2007_boxes", "coco"]
    assert results[0].get_value("zeroshot", "f1_macro") == 0.1
    assert results[1].get_value("zeroshot", "accuracy") == 0.8
    assert results[2].get_value("retrieval.t2i.r1", "recall") == 0.3
    assert results[2].get_value("retrieval.i2t.r1", "recall") == 0.5
    assert results[2].get_value("retrieval.i2t.r5", "recall") is None


@pytest.mark.parametrize(
    ("key", "dataset", "metrics", "score", "our_metric"),
    [
        (
            "retrieval/flickr_1k_test_image_text_retrieval",
            "flickr30k",
            *({"text_retrieval_recall@1": 0.4}, "retrieval.i2t.r1", "recall"),
        ),
        ("fairness/geode", "geode", {"acc1": 0.9, "acc_wg": 0.4}, "zeroshot", "worst_group"),
        (
            *("fairness/dollar_street", "dollar_street"),
            *({"acc1": 0.9, "acc_top5_wg": 0.4}, "zeroshot", "worst_group_top5"),
        ),
        (
            *("misc/winogavil", "winogavil"),
            *({"avg_jaccard_score": 0.4}, "association.jaccard", "jaccard"),
        ),
    ],
)
def test_main_metrics_of_datacomp_are_found(
    tmp_path: Path,
    key: str,
    dataset: str,
    metrics: dict[str, float],
    score: str,
    our_metric: str,
) -> None:
    record = {"key": key, "dataset": "any", "metrics": metrics}
    results = read_imported_results(write(tmp_path / "mine/eval_results.jsonl", record))
    assert results is not None
    assert [result.dataset for result in results] == [dataset]
    assert results[0].get_value(score, our_metric) == 0.4


def test_the_worst_region_of_fmow_is_another_metric(tmp_path: Path) -> None:
    """DataComp's is over the region Other too."""
    metrics = {"acc1": 0.2, "acc_worst_region": 0.1, "acc_worst_year": 0.1}
    record = {"key": "wilds/fmow", "dataset": "FMoW", "metrics": metrics}
    results = read_imported_results(write(tmp_path / "mine/eval_results.jsonl", record))
    assert results is not None
    assert results[0].get_value("zeroshot", "worst_group") is None


def test_values_stand_in_the_columns_of_the_same_metric(tmp_path: Path) -> None:
    scores = {
        "oxford_pets": {
            "protocol": {"protocol": "clip2021", "metric": "mean_per_class"},
            "scores": [{"name": "zeroshot", "kind": "accuracy", "value": 0.5}],
        }
    }
    paths = [write(tmp_path / "ours.json", scores), write(tmp_path / "a.json", CLIP_BENCHMARK)]
    leaderboard = read_results(paths)
    (section,) = build_sections(leaderboard.models, leaderboard.imported)
    row = next(row for row in section.published if row.name.startswith("ViT-B-32"))
    assert row.cells == ("90.0",)
    assert [row.name for row in section.rows] == ["ours"]


def test_other_files_are_none_and_faulty_ones_are_refused(tmp_path: Path) -> None:
    assert read_imported_results(write(tmp_path / "scores.json", {"dtd": {"scores": []}})) is None
    (tmp_path / "text").write_text("no JSON")
    assert read_imported_results(tmp_path / "text") is None
    (tmp_path / "nested").write_text("[" * 100_000)
    assert read_imported_results(tmp_path / "nested") is None
    huge = {**CLIP_BENCHMARK, "metrics": {"acc1": 10**400}}
    with pytest.raises(UserError, match="is no complete file of results"):
        read_imported_results(write(tmp_path / "huge.json", huge))
    with pytest.raises(UserError, match="is no complete file of results"):
        read_imported_results(write(tmp_path / "b.json", {"metrics": {}}))
    with pytest.raises(UserError, match="cannot be read"):
        read_imported_results(tmp_path / "nowhere.json")
