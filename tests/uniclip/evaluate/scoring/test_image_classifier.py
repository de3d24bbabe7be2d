"""The classifier that is fine-tuned: zero-shot at first; a step is that of a literal loop."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.fine_tuning_tree import build_model
from uniclip.augmentation import transform
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import TrainConfig
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.evaluate.scoring.image_classifier import ImageClassifier, take_step
from uniclip.training.optimizer import build_optimizer, set_learning_rate

CONFIG = FineTuningConfig(label_smoothing=0.1, grad_clip_norm=0.5, weight_decay=3.0)
PIXELS = torch.randint(
    256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
TEXTS = ["red", "green", "blue"]


def build_classifier(model: PretrainedModel) -> ImageClassifier:
    return ImageClassifier(model.embedder, model.embed_texts(TEXTS), model.image_text_scale())


@pytest.fixture(params=["clip", "uniclip"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> PretrainedModel:
    return build_model(tmp_path, {}, method={"name": request.param})


def test_it_starts_as_the_zero_shot_classifier(model: PretrainedModel) -> None:
    classifier = build_classifier(model).eval()
    cosines = model.embed_images(PIXELS.numpy()) @ model.embed_texts(TEXTS).T
    with torch.no_grad():
        logits = classifier(PIXELS, torch.zeros(6, transform.VECTOR_DIM)).numpy()
    assert np.allclose(logits, model.image_text_scale() * cosines, atol=1e-4)


def test_a_step_equals_a_literal_loop(model: PretrainedModel) -> None:
    """Two steps of AdamW: decay on matrices alone, clipped gradient, smoothed labels."""
    classifier = build_classifier(model)
    literal = copy.deepcopy(classifier)
    before = copy.deepcopy(model.embedder.state_dict())
    train = TrainConfig(weight_decay=3.0, adam_betas=(0.9, 0.999))
    optimizer = build_optimizer(torch.nn.ModuleDict({"c": classifier}), (), train)
    vectors = torch.randn(6, transform.VECTOR_DIM, generator=torch.Generator().manual_seed(1))
    for rate in (1e-2, 5e-3):
        set_learning_rate(optimizer, rate)
        classifier.train()
        assert take_step(classifier, optimizer, PIXELS, vectors, LABELS, CONFIG)

    names = [n for n, _ in literal.named_parameters() if not n.startswith("embedder.text_")]
    parameters = dict(literal.named_parameters())
    first = {n: torch.zeros_like(parameters[n]) for n in names}
    second = {n: torch.zeros_like(parameters[n]) for n in names}
    literal.train()
    for step, rate in enumerate((1e-2, 5e-3), 1):
        unit = literal.embedder.encode_image(PIXELS, vectors)
        logits = unit @ literal.classifier.weight.T + literal.classifier.bias
        log_probs = logits.log_softmax(1)
        target = torch.full((6, 3), 0.1 / 3).scatter(1, LABELS[:, None], 0.9 + 0.1 / 3)
        gradients = torch.autograd.grad(
            -(target * log_probs).sum(1).mean(), [parameters[n] for n in names], allow_unused=True
        )
        norm = torch.sqrt(sum((g**2).sum() for g in gradients if g is not None))
        for name, gradient in zip(names, gradients):
            if gradient is None:
                continue
            gradient = gradient * min(1.0, 0.5 / (norm.item() + 1e-6))
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            has_decay = sum(size > 1 for size in parameters[name].shape) > 1
            with torch.no_grad():
                parameters[name] *= 1 - rate * 3.0 * has_decay
                denominator = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
                parameters[name] -= rate * first[name] / (1 - 0.9**step) / denominator
    for name in names:
        trained = dict(classifier.named_parameters())[name]
        assert torch.allclose(trained, parameters[name], atol=2e-5), name
    assert all(torch.equal(v, before[n]) for n, v in model.embedder.state_dict().items())
    tuned = classifier.embedder.state_dict()
    changed = {name for name, value in tuned.items() if not torch.equal(value, before[name])}
    assert "image_encoder.body.stem.0.weight" in changed
    assert not [name for name in changed if name.startswith("text_")]


def test_a_locked_encoder_is_trained_too(tmp_path: Path) -> None:
    classifier = build_classifier(build_model(tmp_path, {}, lock="both"))
    classifier.train()
    assert classifier.embedder.image_encoder.training
    assert all(p.requires_grad for p in classifier.embedder.image_encoder.parameters())
    assert not any(p.requires_grad for p in classifier.embedder.text_encoder.parameters())


def test_a_step_that_is_not_finite_changes_no_weights(tmp_path: Path) -> None:
    classifier = build_classifier(build_model(tmp_path, {}))
    optimizer = build_optimizer(torch.nn.ModuleDict({"c": classifier}), (), TrainConfig())
    with torch.no_grad():
        classifier.classifier.bias[0] = float("inf")
    before = classifier.copy_image_state()
    vectors = torch.zeros(6, transform.VECTOR_DIM)
    assert not take_step(classifier, optimizer, PIXELS, vectors, LABELS, CONFIG)
    assert all(torch.equal(v, before[n]) for n, v in classifier.copy_image_state().items())
