"""The benchmark of a run's data set with embedded images: the scores of the same files as a CSV."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from tests.helpers.embedded_data import (
    CLASSES,
    make_rows,
    make_table,
    save_dict_to_disk,
    save_to_disk,
)
from tests.helpers.shards import encode_image
from uniclip import data, evaluate
from uniclip.evaluate.checks import near_duplicates

SPLITS = ("train", "test")
FRACTIONS = {"validation_fraction": 0.3, "test_fraction": 0.4, "image_size": 16}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path):
    """A folder of `Dataset.save_to_disk` with 150 rows."""
    return save_to_disk(tmp_path / "saved", make_table(make_rows(range(150))))


def see(pixels, vectors=None):
    return pixels.reshape(len(pixels), -1)[:, :64] / 255 - 0.5


def read(texts):
    return stub_models.word_vectors(texts)


def configure(name, path, **changes):
    return stub_models.config({"name": name, "path": str(path), **FRACTIONS, **changes})


def score(name, path):
    config = configure(name, path, label_column="label")
    scores, predictions = evaluate.evaluate(name, stub_models.Stub(config, see, read), config)
    return {s.name: s.value for s in scores}, predictions


def test_scores_are_those_of_the_same_images_in_a_csv(path, tmp_path):
    lines = ["picture,caption,label"]
    for n in range(150):
        (tmp_path / f"{n:05d}.png").write_bytes(encode_image(n))
        lines += [f"{n:05d}.png,{word} {n},{CLASSES[n % 3]}" for word in ("one", "two")]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    scores, predictions = score("huggingface", path)
    expected, _ = score("csv", tmp_path / "data.csv")
    assert scores == expected
    assert "retrieval.r1" in scores
    assert any(name.startswith("zeroshot") for name in scores)
    assert predictions["examples.image_names"][0].endswith(".png")


def test_the_protocol_states_what_a_score_depends_on(path):
    record = evaluate.build_protocol("huggingface", configure("huggingface", path))
    assert record["data"]["files"]["number"] == 1
    assert record["shares"] == {"validation": 0.3, "test": 0.4}
    hashes = [
        evaluate.evaluation_hash("huggingface", configure("huggingface", path, **changes))
        for changes in (
            {},
            {"where": "score > 0.5"},
            {"label_column": "label"},
            {"key_column": "label"},
        )
    ]
    assert hashes[0] == hashes[1], "a condition selects training samples alone"
    assert len(set(hashes)) == 3


def test_what_is_missing_is_said(path, tmp_path):
    def describe(path, **changes):
        return evaluate.describe_missing("huggingface", configure("huggingface", path, **changes))

    assert describe(path) is None
    assert "raise data.test_fraction" in describe(path, test_fraction=0)
    table = make_table(make_rows(range(9)))
    stated = save_dict_to_disk(tmp_path / "stated", {"train": table, "test": table})
    assert describe(stated, test_fraction=0) is None
    other = stub_models.config({"name": "scenes"})
    assert "data=huggingface only" in evaluate.describe_missing("huggingface", other)


def test_the_column_of_images_counts_only_where_it_is_named(path):
    usual, named = (
        evaluate.evaluation_hash("huggingface", configure("huggingface", path, **changes))
        for changes in ({}, {"image_column": "image"})
    )
    assert usual != named
    assert "image_column" not in evaluate.build_protocol(
        "huggingface", configure("huggingface", path)
    )


def test_near_duplicates_of_training_images_are_found(tmp_path, monkeypatch):
    rows = make_rows(range(150))
    path = save_to_disk(tmp_path / "saved", make_table(rows))
    training, test = (data.open_split(configure("huggingface", path).data, s) for s in SPLITS)
    copied, copy = int(training.sample_names[3][:5]), int(test.sample_names[5][:5])
    rows["image"][copy]["bytes"] = encode_image(copied)
    config = configure("huggingface", save_to_disk(tmp_path / "copies", make_table(rows)))
    data.open_split(config.data, "test")  # which is indexed before it is evaluated
    verdicts = evaluate.find_near_duplicates("huggingface", config, tmp_path / "store")
    assert np.flatnonzero(verdicts == near_duplicates.DUPLICATE).tolist() == [5]
    assert len(verdicts) == len(test)
    fewer = configure("huggingface", path, max_held_out=16)
    data.open_split(fewer.data, "test")
    assert len(evaluate.find_near_duplicates("huggingface", fewer, tmp_path / "store")) == 16
    monkeypatch.setattr(evaluate, "MAX_DECODED", 10)
    assert evaluate.find_near_duplicates("huggingface", config, tmp_path / "store") is None
