"""The leaderboard: columns by protocol, means over common data sets, published values."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from analysis.page.leaderboard import build_page, build_sections, read_results


def make_result(value: float, score: str = "zeroshot", kind: str = "accuracy", **protocol: Any):
    return {
        "protocol": {"protocol": "clip2021", **protocol},
        "scores": [{"name": score, "kind": kind, "value": value}],
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_rows_are_sorted_by_the_mean_over_common_data_sets(tmp_path: Path) -> None:
    low = {"dtd": make_result(0.2), "food101": make_result(0.4), "cifar10": make_result(0.9)}
    high = {"dtd": make_result(0.3), "food101": make_result(0.6), "imagenet_a": make_result(0.1)}
    paths = [write(tmp_path / "low.json", low), write(tmp_path / "high.json", high)]
    (section,) = build_sections(read_results(paths).models)
    assert section.title == "Zero-shot classification"
    assert section.headings == ("dtd", "food101", "cifar10", "imagenet_a", "mean of 2")
    assert [row.name for row in section.rows] == ["high", "low"]
    assert section.rows[0].cells == ("30.0", "60.0", "", "10.0", "45.0")
    assert section.rows[0].best == (True, True, False, False, True)
    assert section.rows[1].best == (False,) * 5


def test_lists_with_a_mean_of_their_own_are_not_mixed(tmp_path: Path) -> None:
    names = ("dtd", "food101", "imagenet_a", "imagenet_r")
    result = {name: make_result(0.1 * (i + 1)) for i, name in enumerate(names)}
    (section,) = build_sections(read_results([write(tmp_path / "a.json", result)]).models)
    assert section.headings[-2:] == ("mean of 2", "mean of 2 shifts")
    assert section.rows[0].cells[-2:] == ("15.0", "35.0")


def test_means_of_several_kinds_are_told_apart(tmp_path: Path) -> None:
    result = {
        **{"dtd": make_result(0.2), "food101": make_result(0.4)},
        "fmow": make_result(0.1, kind="worst_group"),
        "geode": make_result(0.5, kind="worst_group"),
    }
    (section,) = build_sections(read_results([write(tmp_path / "a.json", result)]).models)
    assert section.headings[-2:] == ("mean of 2 (accuracy)", "mean of 2 (worst group)")
    assert section.rows[0].cells[-2:] == ("30.0", "30.0")


def test_a_value_that_is_no_number_is_missing(tmp_path: Path) -> None:
    result = {"dtd": make_result(math.nan), "food101": make_result(0.4)}
    (section,) = build_sections(read_results([write(tmp_path / "a.json", result)]).models)
    assert section.headings == ("food101",)


def test_another_protocol_is_another_column(tmp_path: Path) -> None:
    first = {"dtd": make_result(0.2)}
    second = {"dtd": make_result(0.3, protocol="slip2021")}
    paths = [write(tmp_path / "a.json", first), write(tmp_path / "b.json", second)]
    (section,) = build_sections(read_results(paths).models)
    assert section.headings == ("dtd (clip2021)", "dtd (slip2021)")
    assert [row.cells for row in section.rows] == [("20.0", ""), ("", "30.0")]
    assert not any(any(row.best) for row in section.rows)
    assert "not comparable" in section.notes[0]


def test_published_values_stand_beside_with_their_conditions(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.json", {"stanford_cars": make_result(0.2)})]
    (section,) = build_sections(read_results(paths).models)
    uniclip = next(row for row in section.published if row.name == "UniCLIP")
    assert uniclip.cells == ("19.5",)
    assert uniclip.conditions.startswith("ViT-B/32; Open30M")
    assert "protocol not stated" in uniclip.conditions


def test_the_page_has_the_differences_and_escapes_names(tmp_path: Path) -> None:
    difference = {
        **{"run": "<b>", "baseline": "a", "dataset": "dtd", "score": "zeroshot"},
        **{"kind": "accuracy", "difference": 0.05, "low": -0.01, "high": 0.11},
        "num_samples": 1_880,
    }
    hidden = {**difference, "score": "zeroshot.top5"}
    content = {
        "runs": {"a": {"dtd": make_result(0.2)}, "<b>": {"dtd": make_result(0.25)}},
        "differences": [difference, hidden, {**difference, "low": None, "high": None}],
    }
    page = build_page(read_results([write(tmp_path / "scores.json", content)]))
    cells = "<td>Zero-shot classification</td><td>dtd</td><td>+5.0</td><td>-1.0 to +11.0</td>"
    assert f"{cells}<td>1,880</td>" in page
    assert "<td>+5.0</td><td></td>" in page
    assert "&lt;b&gt; minus a" in page
    assert "top5" not in page
    assert "http" not in page.replace("http-equiv", "").split("</style>")[1]


@pytest.mark.parametrize(
    "content",
    [
        *([1], {"dtd": {}}, {"runs": []}),
        {"dtd": make_result(0.2, kind="beauty")},
        {"dtd": make_result(10**400)},
        {"runs": {"a": {"dtd": make_result(0.2)}}, "differences": [{"score": "zeroshot"}]},
        {"runs": {"a": {"dtd": make_result(0.2)}}, "differences": [3]},
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any) -> None:
    from uniclip.errors import UserError

    with pytest.raises(UserError, match="is no file of scores"):
        read_results([write(tmp_path / "other.json", content)])
