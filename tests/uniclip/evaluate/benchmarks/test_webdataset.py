"""The benchmark of a run's shards: the scores of the same samples in a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.shards import unpack_to_csv, write_class_folders, write_shards
from uniclip import evaluate

FRACTIONS = {"validation_fraction": 0.3, "test_fraction": 0.4, "image_size": 16}


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The brace range of 3 shards with 150 samples."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    return write_shards(tmp_path / "shards", 150, 3)


def see(pixels, vectors=None):
    return pixels.reshape(len(pixels), -1)[:, :64] / 255 - 0.5


def read(texts):
    return stub_models.word_vectors(texts)


def score(name, path):
    config = stub_models.config({"name": name, "path": str(path), **FRACTIONS})
    scores, predictions = evaluate.evaluate(name, stub_models.Stub(config, see, read), config)
    return {s.name: s.value for s in scores}, predictions


def test_scores_are_those_of_the_same_samples_in_a_csv(path, tmp_path):
    csv_path = unpack_to_csv(tmp_path / "csv", sorted(Path(path).parent.glob("*.tar")))
    scores, predictions = score("webdataset", path)
    expected, _ = score("csv", csv_path)
    assert scores == expected
    assert {"retrieval.r1", "retrieval.log_likelihood"} <= scores.keys()
    assert predictions["examples.image_names"][0].startswith("0000")
    assert len(np.unique(predictions["ids"])) == len(predictions["ids"])


def test_the_protocol_states_what_a_score_depends_on(path):
    config = stub_models.config({"name": "webdataset", "path": path, **FRACTIONS})
    record = evaluate.build_protocol("webdataset", config)
    assert record["data"]["shards"]["number"] == 3
    assert record["shares"] == {"validation": 0.3, "test": 0.4}
    filtered = stub_models.config(
        {"name": "webdataset", "path": path, **FRACTIONS, "where": "width > 5"}
    )
    others = stub_models.config(
        {"name": "webdataset", "path": path, **FRACTIONS, "test_fraction": 0.3}
    )
    hashes = [evaluate.evaluation_hash("webdataset", c) for c in (config, filtered, others)]
    assert hashes[0] == hashes[1], "a condition selects training samples alone"
    assert hashes[0] != hashes[2], "other samples are tested"


def test_labelled_images_are_not_part_of_the_test_data(path, tmp_path):
    folder = write_class_folders(tmp_path / "classes")
    section = {"name": "webdataset", "path": path, **FRACTIONS}
    hashes = [
        evaluate.evaluation_hash("webdataset", stub_models.config({**section, **changes}))
        for changes in ({}, {"labelled_path": folder})
    ]
    assert hashes[0] == hashes[1]


def test_what_is_missing_is_said(path):
    config = stub_models.config({"name": "webdataset", "path": path, **FRACTIONS})
    assert evaluate.describe_missing("webdataset", config) is None
    without_test = stub_models.config(
        {"name": "webdataset", "path": path, **{**FRACTIONS, "test_fraction": 0}}
    )
    assert "raise data.test_fraction" in evaluate.describe_missing("webdataset", without_test)
    other = stub_models.config({"name": "scenes"})
    assert "data=webdataset only" in evaluate.describe_missing("webdataset", other)
