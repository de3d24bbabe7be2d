"""The training loop of fine-tuning: selection, interruption at every step, divergence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.fine_tuning_tree import CLASSES, QUICK, build_model, write_cifar10
from tests.helpers.training_runs import equal_weights, stop_after
from uniclip.config.binding import bind
from uniclip.errors import StopRequested, UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.progress import EvaluationProgress
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.evaluate.scoring.fine_tuner import Checkpointing, FineTuner
from uniclip.evaluate.scoring.image_classifier import ImageClassifier
from uniclip.evaluate.scoring.training_views import TrainingViews

SMALL = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16]}
DROPOUT = {"image": {"options": {**SMALL, "drop_path_rate": 0.2}}}


def sum_weights(classifier: ImageClassifier) -> float:
    """Return a score that is another one in each step."""
    return float(sum(p.detach().double().sum() for p in classifier.parameters()))


def build_fine_tuner(
    root: Path,
    validate: Callable[[ImageClassifier], float] = sum_weights,
    recipe: dict | None = None,
    **arguments: object,
) -> FineTuner:
    if not (root / "cifar-10-batches-py").exists():
        write_cifar10(root)
    model = build_model(root, {}, method={"name": "clip"}, model=DROPOUT)
    train = datasets.get("cifar10_finetune").open(root, "train")
    classifier = ImageClassifier(model.embedder, model.embed_texts(list(CLASSES)), 10.0)
    assert train.labels is not None
    config: FineTuningConfig = bind(FineTuningConfig, recipe or QUICK)
    views = TrainingViews(train, "cifar10", 32)
    return FineTuner(classifier, views, train.labels, validate, config, **arguments)


def test_the_best_validated_weights_of_all_rates_are_selected(tmp_path: Path) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.5, 0.4, 0.2])
    states = []

    def validate(classifier: ImageClassifier) -> float:
        states.append(classifier.copy_image_state())
        return next(scores)

    fine_tuner = build_fine_tuner(tmp_path, validate)
    fine_tuner.run()
    counters = fine_tuner.counters
    assert (counters.best_score, counters.best_rate, counters.best_step) == (0.5, 0, 4)
    assert equal_weights(fine_tuner.classifier.copy_image_state(), states[1]), "the earlier of two"
    assert len(states) == 6
    assert not equal_weights(states[0], states[3]), "the second rate is another one"


def test_training_leaves_random_generators_as_they_were(tmp_path: Path) -> None:
    fine_tuner = build_fine_tuner(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fine_tuner.run()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("stop_at", [1, 2, 4, 7, 11, 12])
def test_an_interrupted_training_continues_to_the_bit(tmp_path: Path, stop_at: int) -> None:
    """Stopped before the first step, between validations, between rates, before the last step."""
    undisturbed = build_fine_tuner(tmp_path)
    undisturbed.run()
    checkpointing = Checkpointing(tmp_path / "checkpoint.safetensors", 1e6)
    first = build_fine_tuner(tmp_path, checkpointing=checkpointing, should_stop=stop_after(stop_at))
    with pytest.raises(StopRequested):
        first.run()
    calls = 0

    def count() -> bool:
        nonlocal calls
        calls += 1
        return False

    second = build_fine_tuner(tmp_path, checkpointing=checkpointing, should_stop=count)
    second.run()
    assert calls == 12 - (stop_at - 1), "no step is taken twice"
    assert second.counters == undisturbed.counters
    assert equal_weights(
        second.classifier.copy_image_state(), undisturbed.classifier.copy_image_state()
    )


def test_a_damaged_checkpoint_only_costs_time(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    build_fine_tuner(tmp_path, checkpointing=Checkpointing(path)).run()
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    again = build_fine_tuner(tmp_path, checkpointing=Checkpointing(path))
    again.run()
    assert again.counters.best_score is not None


def test_progress_is_reported_early_and_with_every_checkpoint(tmp_path: Path) -> None:
    reports: list[EvaluationProgress] = []
    build_fine_tuner(tmp_path, report_progress=reports.append).run()
    assert [r.is_saved for r in reports] == [False], "after a few steps"
    assert reports[0].done == pytest.approx(5 / 12)
    assert reports[0].seconds_left > 0
    reports.clear()
    checkpointing = Checkpointing(tmp_path / "checkpoint.safetensors", 0)
    build_fine_tuner(tmp_path, checkpointing=checkpointing, report_progress=reports.append).run()
    assert [r.is_saved for r in reports] == [True] * 12
    assert [r.done for r in reports] == pytest.approx([k / 12 for k in range(1, 13)])


def test_a_rate_that_diverges_ends_and_the_others_count(tmp_path: Path) -> None:
    recipe = {**QUICK, "learning_rates": [1e-3, 1e35], "grad_clip_norm": 1e30}
    fine_tuner = build_fine_tuner(
        tmp_path,
        lambda c: 1.0 if all(p.isfinite().all() for p in c.parameters()) else -np.inf,
        recipe,
    )
    fine_tuner.run()
    assert fine_tuner.counters.best_rate == 0
    assert all(p.isfinite().all() for p in fine_tuner.classifier.parameters())


def test_if_every_rate_diverges_the_user_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cifar10 diverged at every learning rate; choose lower"):
        build_fine_tuner(tmp_path, lambda c: -np.inf).run()
