"""Probes of a few images and nearest neighbors: equal draws, and the scores of scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import evaluate
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.protocols.protocol import FewShotConfig, LinearProbeConfig
from uniclip.evaluate.scoring import few_shot, linear_probe
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures

CONFIG = FewShotConfig()
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def digits() -> dict[str, ImageDataset]:
    return {split: datasets.get("digits_fewshot").open("", split) for split in SPLITS}


def read_features(dataset: ImageDataset) -> LabelledFeatures:
    assert dataset.labels is not None
    pixels = np.stack([np.asarray(dataset.load_image(i).convert("L")) for i in range(len(dataset))])
    rows = pixels.reshape(len(dataset), -1).astype(np.float32) / 255
    return LabelledFeatures(rows, dataset.labels)


@pytest.fixture(scope="module")
def features(digits: dict[str, ImageDataset]) -> dict[str, LabelledFeatures]:
    return {split: read_features(dataset) for split, dataset in digits.items()}


def test_every_draw_has_k_images_of_each_class_and_those_of_smaller_draws() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 2])
    ids = [f"image {i}" for i in range(8)]
    ranks = few_shot.rank_by_draw("made", ids, labels, draw=0)
    for c in range(3):
        assert sorted(ranks[labels == c]) == list(range((labels == c).sum()))
    order = np.random.default_rng(0).permutation(8)
    shuffled = few_shot.rank_by_draw("made", [ids[i] for i in order], labels[order], draw=0)
    assert np.array_equal(shuffled, ranks[order]), "the order of files has no influence"
    others = [few_shot.rank_by_draw("made", ids, labels, draw) for draw in range(1, 6)]
    assert any(not np.array_equal(ranks, other) for other in others)
    data = LabelledFeatures(np.arange(8.0)[:, None], labels)
    ranked = few_shot.rank_images("made", ids, data, CONFIG)
    one, four = ranked.select(1, 1), ranked.select(1, 4)
    assert np.bincount(one.labels).tolist() == [1, 1, 1]
    assert np.bincount(four.labels).tolist() == [4, 3, 1], "a class with fewer has all of them"
    assert set(one.features[:, 0]) <= set(four.features[:, 0])


@pytest.mark.parametrize("shots", [1, 4, 16])
def test_probes_equal_those_of_scikit_learn(digits, features, shots: int) -> None:
    from sklearn.linear_model import LogisticRegression

    train, validation = (
        few_shot.rank_images("digits", digits[s].ids, features[s], CONFIG).select(0, k)
        for s, k in (("train", shots), ("validation", min(shots, 4)))
    )
    result = linear_probe.fit_protocol_probe(
        *(train, validation, 10, LinearProbeConfig(), "accuracy"),
        train_tolerance=CONFIG.tolerance,
    )
    # Centred, or its intercept is a rounding error that decides at a strong penalty.
    mean = train.features.mean(axis=0, dtype=np.float64)
    peer = LogisticRegression(C=1 / result.protocol_l2, max_iter=20_000, tol=1e-9)
    peer.fit(train.features - mean, train.labels)
    outcome = few_shot.compute_probe_outcomes(
        train, validation, features["test"], 10, LinearProbeConfig()
    )
    expected = peer.score(features["test"].features - mean, features["test"].labels)
    assert outcome.mean() == pytest.approx(expected, abs=1e-3)
    assert expected > (0.4 if shots == 1 else 0.7)


def read_pixels(pixels: Numbers) -> Numbers:
    step = pixels.shape[-1] // 8
    middle = slice(step // 2, None, step)
    return pixels[:, 0, middle, middle].reshape(len(pixels), -1).astype(np.float32) / 255


@pytest.mark.slow
def test_one_embedding_of_each_picture_serves_zero_shot_probes_and_few_shots(
    tmp_path: Path,
) -> None:
    of = stub_models.config({"name": "scenes"})
    num_embedded = []

    def trunk(pixels: Numbers) -> Numbers:
        num_embedded.append(len(pixels))
        return read_pixels(pixels)

    model = stub_models.Stub(of, trunk=trunk)
    evaluate.evaluate("digits", model, of, tmp_path, "model")
    assert sum(num_embedded) == 1_797
    scores, predictions = evaluate.evaluate("digits_fewshot", model, of, tmp_path, "model")
    assert sum(num_embedded) == 1_797
    values = stub_models.values(scores)
    assert list(values) == [*(f"fewshot.{k}" for k in (1, 2, 4, 8, 16)), "knn"]
    assert values["fewshot.1"] < values["fewshot.4"] < values["fewshot.16"] < values["knn"]
    assert {s.chance for s in scores} == {0.1}
    for k in (1, 16):
        draws = predictions[f"fewshot.{k}.draws"]
        assert len(set(draws.tolist())) == CONFIG.draws
        assert draws.mean() == pytest.approx(values[f"fewshot.{k}"])
    again, _ = evaluate.evaluate("digits_fewshot", model, of, tmp_path, "model")
    assert again == scores
    assert evaluate.evaluate("digits_fewshot", model, of)[0] == scores, "without a cache, too"


@pytest.mark.slow
def test_every_model_is_fitted_to_the_same_images() -> None:
    """The features of the second are those of the first in another basis: equal draws give equal
    probes, and the accuracies of three draws of one image are not equal otherwise."""
    of = stub_models.config({"name": "scenes"})
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))
    draws = []
    for rotation in (np.eye(64), basis):
        model = stub_models.Stub(of, trunk=lambda pixels, by=rotation: read_pixels(pixels) @ by)
        _, predictions = evaluate.evaluate("digits_fewshot", model, of)
        draws.append([predictions[f"fewshot.{k}.draws"].tolist() for k in (1, 2, 4)])
    one, other = np.array(draws)
    assert one == pytest.approx(other, abs=0.004)
    assert (np.ptp(one[:2], axis=1) > 0.008).all()


def test_the_protocol_states_draws_and_neighbors_but_no_prompts() -> None:
    of = stub_models.config({"name": "scenes"})
    protocol = evaluate.build_protocol("digits_fewshot", of)
    assert protocol["few_shot"]["shots"] == [1, 2, 4, 8, 16]
    assert protocol["templates"] == []
    assert protocol["linear_probe"]["features"] == "backbone"
    other = replace(of, runtime=replace(of.runtime, protocol="slip2021"))
    assert evaluate.build_protocol("digits_fewshot", other)["templates"] == []


def test_without_training_images_the_data_set_is_missing(tmp_path: Path) -> None:
    from tests.helpers import dataset_trees

    dataset_trees.WRITERS["imagenet"](tmp_path)
    of = stub_models.config({"name": "scenes"})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path)))
    assert evaluate.describe_missing("imagenet_fewshot", of) is None
    (tmp_path / "imagenet/train").rename(tmp_path / "train")
    assert "imagenet/train" in (evaluate.describe_missing("imagenet_fewshot", of) or "")
    assert evaluate.describe_missing_probe_data("imagenet_fewshot", of) is None
