from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.stub_models import unit, values
from uniclip.evaluate.protocols import protocol, published
from uniclip.evaluate.scoring import classification, zero_shot
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures, fit_protocol_probe
from uniclip.evaluate.scoring.score_card import ScoreCard

CLASSES = ("AnnualCrop", "Forest", "River")


def judge(dataset="eurosat", classes=CLASSES, name="clip2021"):
    return published.get_published_protocol(name).for_dataset(dataset, classes)


def zero_shot_of(judgement, images, classifier, truth):
    sheet = ScoreCard()
    classification.score_zero_shot(sheet, judgement, images, classifier, truth, 10.0)
    scores, predictions = sheet.get_results()
    return {s.name: s for s in scores}, predictions


def test_prompts_follow_the_classes():
    prompts = classification.build_prompts(judge(classes=("River", "Forest")))
    assert prompts[0][0] == "a centered satellite photo of river."
    assert [len(own) for own in prompts] == [3, 3]


def test_accuracy_and_mean_per_class_by_hand():
    labels = np.array([0, 0, 0, 1])  # no river
    images = np.eye(3, dtype=np.float32)[[0, 0, 2, 1]]
    truth = classification.GroundTruth(labels, CLASSES)
    scores, kept = zero_shot_of(judge(), images, np.eye(3, dtype=np.float32), truth)
    assert scores["zeroshot"].value == pytest.approx(3 / 4)
    assert scores["zeroshot"].chance == pytest.approx(1 / 3)
    assert scores["zeroshot.mean_per_class"].value == pytest.approx((2 / 3 + 1) / 2)
    assert kept["zeroshot"].tolist() == [1, 1, 0, 1]
    assert kept["zeroshot.prediction"].tolist() == [0, 0, 2, 1]
    assert "zeroshot.top5" not in scores
    assert not kept["zeroshot.labels_misordered"][0]


def test_the_protocols_metric_is_the_score():
    labels = np.array([0, 0, 0, 1])
    truth = classification.GroundTruth(labels, ("1", "2", "3"))
    images, classifier = np.eye(3)[[0, 0, 2, 1]], np.eye(3)
    scores, kept = zero_shot_of(judge("flowers102", ("1", "2", "3")), images, classifier, truth)
    assert scores["zeroshot"].value == pytest.approx(5 / 6)
    assert scores["zeroshot.accuracy"].value == pytest.approx(3 / 4)
    assert scores["zeroshot.accuracy"].report_only
    assert kept["zeroshot.accuracy"].tolist() == [1, 1, 0, 1]


def test_top_five_and_its_chance():
    classes = tuple(map(str, range(10)))
    classifier = unit(np.eye(10) + 0.1 * np.arange(10)[:, None])
    images, labels = unit(np.random.default_rng(0).normal(size=(60, 10))), np.arange(60) % 10
    truth = classification.GroundTruth(labels, classes)
    scores, _ = zero_shot_of(judge("mnist", classes), images, classifier, truth)
    order = np.argsort(-(images @ classifier.T), axis=1)[:, :5]
    expected = (order == labels[:, None]).any(axis=1).mean()
    assert scores["zeroshot.top5"].value == pytest.approx(expected)
    assert scores["zeroshot.top5"].chance == 0.5


def test_names_in_another_order_than_the_labels_are_reported():
    labels = np.arange(300) % 3
    classifier = np.eye(3)[[1, 2, 0]]
    _, kept = zero_shot_of(
        judge(), np.eye(3)[labels], classifier, classification.GroundTruth(labels, CLASSES)
    )
    assert kept["zeroshot.labels_misordered"][0]
    assert kept["zeroshot.permuted_accuracy"].tolist() == [0, 1]


def test_calibration_is_that_of_the_scale():
    labels = np.zeros(4, np.int64)
    truth = classification.GroundTruth(labels, CLASSES[:2])
    images = np.array([[1.0, 0.0]] * 4)
    scores, _ = zero_shot_of(judge(classes=CLASSES[:2]), images, np.eye(2), truth)
    assert scores["zeroshot.ece"].value == pytest.approx(1 - 1 / (1 + np.exp(-10)))
    assert scores["zeroshot.ece"].kind == "error"


def test_voc_excludes_difficult_objects_and_clip_benchmark_does_not():
    labels = np.array([[1, 0], [0, 1], [0, 0], [1, 0]])
    difficult = np.array([[0, 0], [0, 0], [1, 0], [0, 0]], bool)
    clip = judge("voc2007", ("cat", "dog"))
    truth = classification.build_ground_truth(labels, ("cat", "dog"), difficult, clip)
    assert truth.labels[:, 0].tolist() == [1, 0, -1, 1]
    laion = judge("voc2007", ("cat", "dog"), "laion_cb")
    assert classification.build_ground_truth(labels, ("cat", "dog"), difficult, laion).labels[
        :, 0
    ].tolist() == [1, 0, 1, 1]
    images = np.array([[0.9, 0.1], [0.7, 0.8], [0.8, 0.3], [0.2, 0.4]])
    scores, kept = zero_shot_of(clip, images, np.eye(2), truth)
    # Cats rank 0.9 (yes), 0.7 (no), 0.2 (yes): precision 1 up to recall 1/2, then 2/3.
    cat = (6 * 1 + 5 * 2 / 3) / 11
    assert scores["zeroshot[cat]"].value == pytest.approx(cat)
    assert scores["zeroshot[cat]"].num_samples == 3
    assert scores["zeroshot"].value == pytest.approx((cat + 1) / 2)
    assert scores["zeroshot"].kind == "map"
    assert scores["zeroshot"].chance == pytest.approx((2 / 3 + 1 / 4) / 2)
    assert kept["zeroshot.scores"].shape == (4, 2)


def blobs(n, seed):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (np.eye(3)[labels] * 2 + random.normal(size=(n, 3))).astype(np.float32), labels


def fitted(judgement, train, validation, classes):
    settings, metric = judgement.probe_config, judgement.metric
    return fit_protocol_probe(train, validation, classes, settings, metric)


@pytest.mark.parametrize("name", published.PROTOCOLS)
def test_a_probe_under_each_protocol(name):
    train, validation, (features, labels) = blobs(90, 0), blobs(45, 1), blobs(200, 2)
    sheet = ScoreCard()
    truth = classification.GroundTruth(labels, CLASSES)
    probe_result = fitted(
        judge(name=name), LabelledFeatures(*train), LabelledFeatures(*validation), 3
    )
    classification.score_probe(sheet, judge(name=name), probe_result, features, truth)
    scores, kept = sheet.get_results()
    assert values(scores)["probe"] > 0.75
    assert kept["probe"].shape == (200,)
    assert kept["probe.gradient"][0] <= protocol.GRADIENT_TOLERANCE / 3
    assert any(
        np.isclose(kept["probe.strength"][0], s)
        for s in protocol.LinearProbeConfig().build_l2_grid()
    )


def test_a_probe_of_several_labels():
    random = np.random.default_rng(3)
    features = random.normal(size=(150, 4)).astype(np.float32)
    labels = (features[:, :2] > 0).astype(np.int64)
    labels[:10, 0] = -1
    sheet = ScoreCard()
    voc = judge("voc2007", ("cat", "dog"))
    parts = (LabelledFeatures(features[at], labels[at]) for at in (slice(60), slice(60, 90)))
    truth = classification.GroundTruth(labels[90:], ("cat", "dog"))
    classification.score_probe(sheet, voc, fitted(voc, *parts, 2), features[90:], truth)
    scores = {s.name: s for s in sheet.get_results()[0]}
    assert scores["probe"].value > 0.9
    assert scores["probe"].kind == "map"


def test_a_constant_model_scores_chance_everywhere():
    rows = np.full((60, 4), 0.5, np.float32)
    truth = classification.GroundTruth(np.arange(60) % 6, tuple(map(str, range(6))))
    scores, _ = zero_shot_of(judge("mnist", truth.classes), rows, rows[:6], truth)
    for name in ("zeroshot", "zeroshot.mean_per_class", "zeroshot.top5"):
        assert scores[name].value == pytest.approx(scores[name].chance)


def test_one_class():
    truth = classification.GroundTruth(np.zeros(3, np.int64), ("AnnualCrop",))
    rows = np.ones((3, 2), np.float32)
    scores, _ = zero_shot_of(judge(classes=("AnnualCrop",)), rows, rows[:1], truth)
    assert scores["zeroshot"].value == scores["zeroshot"].chance == 1
    embedded = zero_shot.build_classifier(lambda t: np.ones((len(t), 2)), [["a"]])
    assert embedded.shape == (1, 2)
