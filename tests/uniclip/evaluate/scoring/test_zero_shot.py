from __future__ import annotations

import numpy as np
import pytest

from uniclip.evaluate.scoring import zero_shot
from uniclip.evaluate.scoring.score_card import ScoreCard


def test_classifier_by_hand():
    rows = {"a cat": [2.0, 0.0], "cat!": [0.0, 5.0], "a dog": [0.0, 1.0], "dog!": [0.0, 3.0]}
    embedded_texts = []

    def embed(texts):
        embedded_texts.extend(texts)
        return np.array([rows[t] for t in texts])

    templates = ["a {}", "{}!"]
    prompts = [zero_shot.fill_templates(templates, [name]) for name in ("cat", "dog")]
    half = np.sqrt(0.5)
    # Each prompt counts the same whatever its length: (1, 0) and (0, 1), the mean normalised.
    expected = np.array([[half, half], [0, 1]])
    assert zero_shot.build_classifier(embed, prompts) == pytest.approx(expected, abs=1e-6)
    assert sorted(embedded_texts) == sorted(rows)


def test_several_names_a_class_and_shared_prompts_embedded_once():
    calls = []

    def embed(texts):
        calls.append(texts)
        return np.eye(4)[: len(texts)]

    prompts = [
        zero_shot.fill_templates(["{}"], names) for names in (["cat", "pet"], ["dog", "pet"])
    ]
    rows = zero_shot.build_classifier(embed, prompts)
    assert calls == [["cat", "pet", "dog"]]
    assert rows.shape == (2, 4)
    assert rows[0, 1] == rows[1, 1] > 0


def test_braces_in_a_name_stay():
    assert zero_shot.fill_template("a {}, seen", "set {x} {}") == "a set {x} {}, seen"


def test_names_are_bound_by_class_and_not_by_position():
    names = {"forest": ["forest"], "crop": ["annual crop"]}
    assert zero_shot.order_class_names(names, ["crop", "forest"]) == [["annual crop"], ["forest"]]
    with pytest.raises(AssertionError, match="river"):
        zero_shot.order_class_names(names, ["crop", "river"])


def test_classify_by_hand():
    classes = np.eye(3, dtype=np.float32)
    images = np.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.8], [0.3, 0.6, 0.1]], np.float32)
    labels = np.array([0, 0, 1])
    result = zero_shot.classify(images, classes, labels, logit_scale=10.0)
    assert result.prediction.tolist() == [0, 2, 1]
    assert result.outcome.tolist() == [1, 0, 1]


def test_the_scale_affects_calibration_only():
    random = np.random.default_rng(0)
    images, classes = random.normal(size=(40, 4)), random.normal(size=(5, 4))
    labels = random.integers(0, 5, 40)
    mild, sharp = (zero_shot.classify(images, classes, labels, s) for s in (0.1, 50.0))
    assert (mild.outcome == sharp.outcome).all()
    assert sharp.calibration_error > mild.calibration_error


def test_constant_model_scores_chance():
    rows = np.full((60, 4), 0.5, np.float32)
    result = zero_shot.classify(rows, rows[:5], np.arange(60) % 5, logit_scale=10.0)
    assert result.outcome.mean() == pytest.approx(0.2)
    assert result.calibration_error == pytest.approx(0, abs=1e-6)


def test_small_classes_make_a_score_report_only():
    labels = np.array([0] * 60 + [1] * 60)
    outcome = (np.arange(120) % 2).astype(float)
    sheet = ScoreCard()
    zero_shot.add_accuracy_per_class(sheet, "enough", outcome, labels, ["a", "b", "c"])
    zero_shot.add_accuracy_per_class(sheet, "few", outcome[:100], labels[:100], ["a", "b", "c"])
    scores = {s.name: s for s in sheet.get_results()[0]}
    assert set(scores) == {"enough", "enough[a]", "enough[b]", "few", "few[a]", "few[b]"}
    assert not scores["enough"].report_only
    assert scores["few"].report_only
    assert scores["few[b]"].num_samples == 40
    assert scores["few"].chance == pytest.approx(1 / 3)
    assert all(s.report_only for name, s in scores.items() if "." in name)


def test_prompts_are_embedded_shortest_first():
    embedded_texts = []

    def embed(texts):
        embedded_texts.extend(texts)
        return np.array([[len(t), 1.0] for t in texts])

    prompts = [["a long prompt", "x"], ["mid"]]
    rows = zero_shot.build_classifier(embed, prompts)
    assert embedded_texts == ["x", "mid", "a long prompt"]
    assert rows[1] == pytest.approx(np.array([3, 1]) / np.sqrt(10))
