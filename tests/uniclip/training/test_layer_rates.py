"""Layer-wise learning rates: a factor for each layer, from the top of each encoder downwards."""

from __future__ import annotations

import pytest

from tests.helpers.small_models import build_method_and_embedder, train_small_tokenizer
from tests.helpers.small_runs import tiny
from uniclip.checkpoints.tensor_file import bundle_modules
from uniclip.training import optimizer
from uniclip.training.layer_rates import compute_layer_scales


def build(layer_decay):
    text = {"width": 16, "layers": 2, "heads": 2, "context_length": 16, "vocab_size": 300}
    image = {
        "name": "vit_tiny_patch16_224",
        "image_size": 32,
        "options": {"embed_dim": 16, "depth": 2, "num_heads": 2},
    }
    config = tiny(
        model={"image": image, "text": text, "embed_dim": 8}, train={"layer_decay": layer_decay}
    )
    method, embedder = build_method_and_embedder(config, train_small_tokenizer())
    modules = bundle_modules(embedder, method)
    adam = optimizer.build_optimizer(
        modules,
        method.similarity_parameters(),
        config.train,
        layer_scales=compute_layer_scales(embedder, layer_decay),
    )
    scale_by_id = {id(p): g["lr_scale"] for g in adam.param_groups for p in g["params"]}
    return {n: scale_by_id[id(p)] for n, p in embedder.named_parameters()}, adam


def test_each_layer_learns_slower_than_the_one_above():
    scales, _ = build(0.5)
    image, text = "image_encoder.body.", "text_encoder.body."
    assert scales[f"{image}norm.weight"] == 0.5
    assert scales[f"{image}blocks.1.mlp.fc1.weight"] == 0.5
    assert scales[f"{image}blocks.0.mlp.fc1.weight"] == 0.25
    assert scales[f"{image}patch_embed.proj.weight"] == 0.125
    assert scales[f"{text}final_layer_norm.weight"] == 0.5
    assert scales[f"{text}encoder.layers.1.mlp.fc1.weight"] == 0.5
    assert scales[f"{text}embeddings.token_embedding.weight"] == 0.125
    assert scales["text_head.weight"] == 1


def test_without_a_decay_the_groups_are_as_ever():
    scales, adam = build(1.0)
    assert set(scales.values()) == {1.0}
    names = [group["name"] for group in adam.param_groups]
    assert names == [g for g in optimizer.PARAMETER_GROUPS if g in names]
    assert len(names) == len(set(names))


def test_the_rate_of_a_step_is_multiplied():
    _, adam = build(0.5)
    optimizer.set_learning_rate(adam, 0.1)
    assert {round(g["lr"], 6) for g in adam.param_groups} >= {0.1, 0.05, 0.025, 0.0125}
    with pytest.raises(ValueError, match="layer_decay"):
        tiny(train={"layer_decay": 0})
