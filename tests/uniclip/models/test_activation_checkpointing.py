"""Activation checkpointing changes neither loss nor gradient, and does recompute."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import tiny
from uniclip.errors import UserError
from uniclip.training import trainer
from uniclip.training.state import TrainState

DROPOUT = {"drop_path_rate": 0.5}
VIT = {"name": "vit_tiny_patch16_224", "image_size": 32}
VIT_OPTIONS = {"embed_dim": 24, "depth": 2, "num_heads": 2, "patch_size": 8, **DROPOUT}
CONVNEXT_OPTIONS = {"depths": [1, 1, 1, 1], "dims": [8, 8, 16, 16], **DROPOUT}
BERT = {"name": "bert", "pooling": "first", "options": {"hidden_dropout_prob": 0.5}}
MODELS = {
    "vit": {"image": {**VIT, "options": VIT_OPTIONS}},
    "convnext": {"image": {"options": CONVNEXT_OPTIONS}},
    "bert": {"image": {**VIT, "options": VIT_OPTIONS}, "text": BERT},
}


def build_state(
    model: dict, lock: str = "none", **train: object
) -> tuple[trainer.TrainingBatches, TrainState]:
    base = tiny().model
    sections = {
        "image": {"name": base.image.name, "image_size": 32, **model["image"]},
        "text": {
            **{"width": 32, "layers": 2, "heads": 2, "context_length": 16, "vocab_size": 300},
            **model.get("text", {}),
        },
    }
    config = tiny(model=sections, train=train, lock=lock)
    trainer.numerics.apply(1, config.train.numerics)
    return trainer.setup_training(config)


def train_steps(model: dict, **train: object) -> tuple[list[float], list[torch.Tensor]]:
    """Return the losses of two steps, and the gradients of the second."""
    batches, state = build_state(model, **train)
    losses = []
    for step in range(2):
        losses.append(trainer.training_step(state, batches.build_batch(step)).loss)
        state.record_step(0.0, clipped=False)
    return losses, [p.grad for p in state.modules.parameters() if p.grad is not None]


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("settings", [{}, {"precision": "bf16", "grad_cache_chunks": 2}])
def test_loss_and_gradients_are_the_same(model, settings):
    """Also with dropout, which is drawn again as in the forward pass."""
    losses, gradients = train_steps(model, **settings)
    other_losses, other_gradients = train_steps(model, activation_checkpointing=True, **settings)
    assert other_losses == losses
    assert len(gradients) == len(other_gradients) > 20
    assert all(map(torch.equal, gradients, other_gradients))


def count_calls(lock: str, **train: object) -> dict[str, int]:
    """Return how often a step computes the first block of each encoder."""
    batches, state = build_state(MODELS["vit"], lock=lock, **train)
    encoders = {"image": state.embedder.image_encoder, "text": state.embedder.text_encoder}
    calls = dict.fromkeys(encoders, 0)

    def count(tower: str) -> None:
        calls[tower] += 1

    for tower, encoder in encoders.items():
        block = next(m for m in encoder.modules() if type(m).__name__ in ("Mlp", "CLIPMLP"))
        block.register_forward_pre_hook(lambda *_, tower=tower: count(tower))
    trainer.training_step(state, batches.build_batch(0))
    return calls


def test_blocks_of_trained_encoders_are_computed_twice():
    """Else the test above would compare two equal programs."""
    assert count_calls("none") == {"image": 1, "text": 1}
    assert count_calls("none", activation_checkpointing=True) == {"image": 2, "text": 2}
    assert count_calls("text", activation_checkpointing=True) == {"image": 2, "text": 1}


def test_batch_norm_is_refused_in_one_line():
    model = {"image": {"name": "resnet10t", "options": {}}}
    with pytest.raises(UserError, match="the image encoder has it") as error:
        build_state(model, activation_checkpointing=True)
    assert "\n" not in str(error.value)
