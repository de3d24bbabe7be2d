"""Scores of a shift of ImageNet relative to ImageNet, and detection of images of no class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.helpers import dataset_trees, shift_trees, stub_models
from uniclip import evaluate
from uniclip.evaluate.scoring.robustness import fit_baseline
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.shift_scores import add_detection_scores, add_robustness_scores


def test_detection_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    confidence = np.round(generator.uniform(0, 0.8, 200), 2)
    clean = np.round(generator.uniform(0.1, 1, 1_000), 2)
    score_card = ScoreCard()
    add_detection_scores(score_card, confidence, clean)
    scores, _ = score_card.get_results()
    value = stub_models.values(scores)
    anomaly, truth = -np.concatenate([confidence, clean]), np.repeat([1, 0], [200, 1_000])
    assert value["ood.aupr"] == pytest.approx(average_precision_score(truth, anomaly), abs=1e-12)
    assert value["ood.auroc"] == pytest.approx(roc_auc_score(truth, anomaly), abs=1e-12)
    assert {s.name: s.chance for s in scores} == {"ood.aupr": 1 / 6, "ood.auroc": 0.5}


def test_a_constant_confidence_is_at_chance() -> None:
    score_card = ScoreCard()
    add_detection_scores(score_card, np.full(200, 0.3), np.full(1_000, 0.3))
    for score in score_card.get_results()[0]:
        assert score.value == score.chance


@pytest.mark.parametrize(("clean_accuracy", "is_report_only"), [(0.7, False), (0.2, True)])
def test_effective_robustness_is_what_exceeds_the_expectation(
    clean_accuracy: float, is_report_only: bool
) -> None:
    score_card = ScoreCard()
    clean = np.arange(1_000) < 1_000 * clean_accuracy
    add_robustness_scores(score_card, "imagenet_v2", np.arange(100) < 65, clean, 1_000)
    by_name = {s.name: s for s in score_card.get_results()[0]}
    assert by_name["shift.clean"].value == pytest.approx(clean_accuracy)
    baseline = fit_baseline("imagenet_v2")
    assert baseline is not None
    robust = by_name["shift.robust"]
    assert robust.value == pytest.approx(0.65 - baseline.predict(clean_accuracy))
    assert robust.report_only == is_report_only


def test_accuracies_of_zero_and_one_have_finite_robustness() -> None:
    for outcome in (0.0, 1.0):
        score_card = ScoreCard()
        hits = np.full(100, outcome)
        add_robustness_scores(score_card, "imagenet_r", hits, hits, 200)
        assert np.isfinite(stub_models.values(score_card.get_results()[0])["shift.robust"])


def test_without_imagenet_a_shift_has_zero_shot_accuracy_alone(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    shift_trees.imagenet_r(tmp_path / "sets")
    of = stub_models.config({"name": "scenes"})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path / "sets")))
    model = stub_models.ColourModel(of)
    alone = evaluate.build_protocol("imagenet_r", of)
    assert "reference" not in alone
    scores, _ = evaluate.evaluate("imagenet_r", model, of, tmp_path / "cache", "model")
    assert not [s for s in scores if s.name.startswith("shift")]
    dataset_trees.WRITERS["imagenet"](tmp_path / "sets")
    both = evaluate.build_protocol("imagenet_r", of)
    assert both.pop("reference")["dataset"] == "imagenet"
    assert both.pop("shift_version") == 1
    assert both == alone
    evaluate.evaluate("imagenet", model, of, tmp_path / "cache", "model")
    num_images = model.num_embedded
    scores, _ = evaluate.evaluate("imagenet_r", model, of, tmp_path / "cache", "model")
    assert model.num_embedded == num_images, "the images of both are cached"
    names = {s.name for s in scores}
    assert {"shift.clean", "shift.robust", "zeroshot"} <= names


def test_training_images_of_imagenet_are_no_part_of_a_shift(tmp_path: Path) -> None:
    dataset_trees.imagenet(tmp_path / "sets")
    shift_trees.imagenet_r(tmp_path / "sets")
    of = stub_models.config({"name": "scenes"})
    of = replace(of, runtime=replace(of.runtime, data_root=str(tmp_path / "sets")))
    before = [evaluate.build_protocol(name, of) for name in ("imagenet", "imagenet_r")]
    image = next((tmp_path / "sets/imagenet/train").rglob("*.*"))
    image.write_bytes(image.read_bytes() + b"longer")
    imagenet, shift = (evaluate.build_protocol(name, of) for name in ("imagenet", "imagenet_r"))
    assert imagenet != before[0]
    assert shift == before[1]
    image = next((tmp_path / "sets/imagenet/val").rglob("*.*"))
    image.write_bytes(image.read_bytes() + b"longer")
    assert evaluate.build_protocol("imagenet_r", of) != shift
