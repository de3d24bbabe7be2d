"""Each picture is embedded once, within a data set and across those that share pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers import composition_trees, dataset_trees, stub_models
from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.evaluate import datasets


def build_config(root: Path, section: Mapping[str, object] = {"name": "scenes"}) -> RunConfig:
    of = stub_models.config(dict(section))
    return replace(of, runtime=replace(of.runtime, data_root=str(root)))


def test_pictures_of_several_captions_are_embedded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = composition_trees.sugarcrepe(tmp_path)
    of = build_config(tmp_path)
    opened = datasets.get("sugarcrepe").open(tmp_path, "test")
    assert opened.picture_rows is not None
    assert opened.picture_rows.tolist() == [row // 2 for row in range(14)]
    assert opened.find_distinct_images().tolist() == list(range(0, 14, 2))
    model = stub_models.ColourModel(of)
    scores, predictions = evaluate.evaluate("sugarcrepe", model, of, tmp_path / "cache", "model")
    assert len(rows) == len(predictions["ids"]) == 14
    assert model.num_embedded == 7
    monkeypatch.setattr(
        "uniclip.evaluate.datasets.readers.caption_choices._number_equal", lambda values: None
    )
    whole_model = stub_models.ColourModel(of)
    assert evaluate.evaluate("sugarcrepe", whole_model, of)[0] == scores
    assert whole_model.num_embedded == 14


def test_data_sets_of_the_same_pictures_share_their_features(tmp_path: Path) -> None:
    truth = dataset_trees.WRITERS["flickr30k"](tmp_path / "sets")
    of = build_config(tmp_path / "sets")
    model = stub_models.ColourModel(of)
    evaluate.evaluate("flickr30k", model, of, tmp_path / "cache", "model")
    num_embedded = model.num_embedded
    assert num_embedded == len(truth.rows["test"])
    scores, _ = evaluate.evaluate("flickr30k_order", model, of, tmp_path / "cache", "model")
    assert model.num_embedded == num_embedded
    alone = stub_models.ColourModel(of)
    assert evaluate.evaluate("flickr30k_order", alone, of)[0] == scores


def test_without_images_they_are_scored_from_the_cache(tmp_path: Path) -> None:
    dataset_trees.WRITERS["flickr30k"](tmp_path / "sets")
    of = build_config(tmp_path / "sets")
    first, cache = stub_models.ColourModel(of), tmp_path / "cache"
    scores, _ = evaluate.evaluate("flickr30k_order", first, of, cache, "model")
    (tmp_path / "sets").rename(tmp_path / "away")
    assert evaluate.describe_missing("flickr30k_order", of, cache) is None
    second = stub_models.ColourModel(of)
    assert evaluate.evaluate("flickr30k_order", second, of, cache, "model")[0] == scores
    assert second.num_embedded == 0
