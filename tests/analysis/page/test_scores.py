"""Scores of the page are those of the report."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.collect.frame import SweepData
from analysis.formatting import choose_score_format
from uniclip.store import Store


def test_means_and_texts_are_those_of_the_report(
    page_data: tuple[Store, SweepData], payload: dict[str, Any]
) -> None:
    data = page_data[1]
    arms = [a.name for a in data.plan.arms]
    for score in payload["scores"]:
        key = score["dataset"], score["name"]
        observations = data.get_observations(*key)
        number_format = choose_score_format(data.get_score_kind(*key), observations, arms)
        for arm, summary in score["arms"].items():
            mean = observations.compute_mean(arm)
            assert summary["mean"] == pytest.approx(mean, rel=1e-5)
            assert summary["text"].split(" ")[0] == number_format.format(mean)
            assert (" \u00b1 " in summary["text"]) == (summary["num_seeds"] > 1)


def test_every_cell_has_its_value_or_null(payload: dict[str, Any]) -> None:
    primary = payload["scores"][0]
    assert (primary["name"], primary["is_primary"], primary["direction"]) == (
        "retrieval.r1",
        True,
        1,
    )
    assert [value is None for value in primary["cells"]] == [False] * 4 + [True] * 2
    by_name = {score["name"]: score for score in payload["scores"]}
    assert by_name["ece"]["direction"] == -1
    assert by_name["zeroshot.gender"]["label"].endswith("*"), "reported only"
