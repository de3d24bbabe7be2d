from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip import data, evaluate
from uniclip.evaluate.benchmarks import openmoji
from uniclip.evaluate.features import split_features, test_views

CONFIG = stub_models.config({"name": "openmoji"})


@pytest.fixture(scope="module")
def test_split():
    return split_features.open_split_cached(CONFIG.data, "test")


def name_of(split):
    """A picture's bytes to its name; of pictures that look the same, the first one's."""
    names = {}
    for start in range(0, len(split), 256):
        index = np.arange(start, min(start + 256, len(split)))
        for i, picture in zip(index, split.load_pixels(index)):
            names.setdefault(picture.tobytes(), split.sample_names[i])
    return names


def test_an_oracle_finds_all_but_identical_images(test_split):
    names = name_of(test_split)

    def images(pixels, vectors):
        return stub_models.word_vectors([names.get(p.tobytes(), "a view") for p in pixels])

    scores, predictions = evaluate.evaluate(
        "openmoji", stub_models.Stub(CONFIG, images, stub_models.word_vectors), CONFIG
    )
    value = stub_models.values(scores)
    hits = predictions["retrieval.i2t.r1"]
    assert hits.mean() == pytest.approx(len(names) / len(test_split))
    assert value["retrieval.i2t.r1"] > 0.95
    assert value["retrieval.r1"] == pytest.approx(
        (value["retrieval.i2t.r1"] + value["retrieval.t2i.r1"]) / 2
    )
    for score in scores:
        if score.name in predictions:
            assert predictions[score.name].mean(dtype=float) == pytest.approx(score.value, abs=1e-6)
            assert len(predictions[score.name]) == score.num_samples


def test_scores_depend_on_the_augmentation_vectors(test_split):
    """A model that sees nothing but its vectors: it knows a picture by the true ones alone."""
    true = test_views.draw_view(CONFIG.data, "strong", 0, CONFIG.model.image.image_size).vectors
    name = {row.tobytes(): sample_name for row, sample_name in zip(true, test_split.sample_names)}
    given_vectors = []

    def images(pixels, vectors):
        if vectors is None:
            return np.ones((len(pixels), stub_models.word_vectors(["a"]).shape[1]))
        given_vectors.append(vectors)
        return stub_models.word_vectors([name.get(row.tobytes(), "nothing") for row in vectors])

    scores, predictions = evaluate.evaluate(
        "openmoji", stub_models.Stub(CONFIG, images, stub_models.word_vectors), CONFIG
    )
    value = stub_models.values(scores)
    true_given, identity, wrong = given_vectors
    assert (true_given == true).all()
    assert not identity.any()
    assert (wrong == np.roll(true, -1, axis=0)).all()
    assert value["retrieval.r1.views.true"] > 0.95
    assert value["retrieval.r1.views.identity"] < 0.01
    assert value["retrieval.r1.views.wrong"] < 0.05
    assert len(predictions["retrieval.r1.views.true"]) == len(test_split)


def test_a_constant_model_is_at_chance(test_split):
    scores, predictions = evaluate.evaluate("openmoji", stub_models.Stub(CONFIG), CONFIG)
    by_name = {s.name: s for s in scores}
    for name in ("r1", "i2t.r1", "i2t.r5", "i2t.r10", "t2i.r1", "t2i.r5", "t2i.r10"):
        score = by_name[f"retrieval.{name}"]
        assert score.value == pytest.approx(score.chance, rel=1e-6)
        assert score.num_samples == len(test_split)
        assert not score.report_only
    for label, classes in (("skin_tone", 5), ("gender", 2), ("category", 9)):
        score = by_name[f"zeroshot.{label}"]
        assert score.value == pytest.approx(1 / classes)
        assert score.chance == pytest.approx(1 / classes)
    majority = np.bincount(test_split.labels["category"][test_split.labels["category"] >= 0])
    assert by_name["probe.category"].value == pytest.approx(majority.max() / majority.sum())
    assert predictions["ids"].tolist() == test_split.ids.tolist()


def test_a_model_that_sees_categories_is_probed_right(test_split):
    """The probe takes trunk features, and pictures without a category are left out."""
    category = {}
    for part in ("train", "validation", "test"):
        split = split_features.open_split_cached(CONFIG.data, part)
        for picture, label in zip(
            split.load_pixels(np.arange(len(split))), split.labels["category"]
        ):
            category[picture.tobytes()] = label
    stub = stub_models.Stub(
        CONFIG, trunk=lambda pixels: np.eye(9)[[category[p.tobytes()] for p in pixels]]
    )
    scores, predictions = evaluate.evaluate("openmoji", stub, CONFIG)
    by_name = {s.name: s for s in scores}
    assert by_name["probe.category"].value == 1
    labelled = (test_split.labels["category"] >= 0).sum()
    assert by_name["probe.category"].num_samples == labelled
    small = [s for s in scores if s.num_samples < 50]
    assert all(s.report_only for s in small)


def test_zero_shot_follows_the_words(test_split):
    """A model that knows nothing but the words "man" and "woman" in names and prompts."""
    names = name_of(test_split)

    def words(texts):
        return [[1e-3 + ("woman" in t.split()), 1e-3 + ("man" in t.split())] for t in texts]

    stub = stub_models.Stub(
        CONFIG, lambda p, _: words([names.get(x.tobytes(), "") for x in p]), words
    )
    scores, predictions = evaluate.evaluate("openmoji", stub, CONFIG)
    assert stub_models.values(scores)["zeroshot.gender"] > 0.98
    assert set(predictions["zeroshot.gender.prediction"]) == {0, 1}


def test_every_class_of_the_data_has_prompt_names(test_split):
    for label, names in openmoji.NAMES.items():
        assert set(names) == set(test_split.class_names[label])
        assert openmoji.TEMPLATES[label]


def test_train_and_test_are_disjoint():
    ids = [set(data.open_split(CONFIG.data, p).ids.tolist()) for p in ("train", "test")]
    assert not ids[0] & ids[1]
