"""Zero-shot classification and linear probes of label sets that not every image has."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers import stub_models
from uniclip.evaluate.features import split_features
from uniclip.evaluate.scoring import labelled_split
from uniclip.evaluate.scoring.score_card import ScoreCard

CONFIG = stub_models.config({"name": "scenes"})
NAMES = {"cat": ("cat",), "dog": ("dog",)}


class LabelledImages:
    """A split of 120 images whose pixels are their class; every third has no label."""

    has_image_files = False

    def __init__(self, labelled: bool = True) -> None:
        index = np.arange(120)
        self.classes = index % 2
        self.labels = {"pet": np.where((index % 3 == 0) | (not labelled), -1, self.classes)}
        self.class_names = {"pet": ("cat", "dog")}
        self.ids = index.astype(np.uint64)
        self.clusters = None

    def __len__(self) -> int:
        return len(self.classes)

    def load_pixels(self, index):
        return np.tile(self.classes[index][:, None, None, None], (1, 3, 2, 2)).astype(np.uint8)

    def load_readable_pixels(self, index):
        return self.load_pixels(index), np.ones(len(index), bool)


def class_vectors(pixels, vectors=None):
    return np.eye(2)[pixels[:, 0, 0, 0]]


def word_vectors(texts):
    return [[float("cat" in t) + 1e-3, float("dog" in t) + 1e-3] for t in texts]


STUB = stub_models.Stub(CONFIG, class_vectors, word_vectors, class_vectors)


def test_images_without_a_label_are_excluded():
    score_card, split = ScoreCard(), LabelledImages()
    images = class_vectors(split.load_pixels(np.arange(120)))
    labelled_split.add_ground_truth(score_card, split)
    labelled_split.score_zero_shot(score_card, "pet", STUB, split, images, ("a {}",), NAMES)
    scores, predictions = score_card.get_results()
    by_name = {s.name: s for s in scores}
    assert (by_name["zeroshot.pet"].value, by_name["zeroshot.pet"].num_samples) == (1, 80)
    assert by_name["zeroshot.pet[cat]"].num_samples == 40
    assert predictions["labels.pet"].tolist() == split.labels["pet"].tolist()
    assert predictions["ids"].tolist() == list(range(120))


@pytest.mark.parametrize("labelled", [True, False])
def test_a_probe_needs_a_label_in_every_split(monkeypatch, labelled):
    splits = {"train": LabelledImages(), "validation": LabelledImages(labelled)}
    opened = SimpleNamespace(names=[])

    def open_split(data_config, name):
        opened.names.append(name)
        return splits[name]

    monkeypatch.setattr(split_features, "open_split_cached", open_split)
    score_card, test = ScoreCard(), LabelledImages()
    features = class_vectors(test.load_pixels(np.arange(120)))
    labelled_split.score_probe(score_card, "pet", STUB, CONFIG.data, test, features)
    values = stub_models.values(score_card.get_results()[0])
    assert values.get("probe.pet") == (1 if labelled else None)
    assert opened.names == ["train", "validation"]


def test_a_label_that_no_test_image_has_gives_no_score():
    score_card, split = ScoreCard(), LabelledImages(labelled=False)
    images = class_vectors(split.load_pixels(np.arange(120)))
    labelled_split.score_zero_shot(score_card, "pet", STUB, split, images, ("a {}",), NAMES)
    assert score_card.get_results() == ((), {})
