"""Published initial weights: their standard deviations, and no other change."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.data.text import tokenizer
from uniclip.models.embedder import build_embedder

WIDTH, LAYERS = 256, 3


@pytest.fixture(scope="module")
def vocabulary():
    return tokenizer.train_bpe(["a red disc", "a blue cross"], 300)


def build(vocabulary, scheme, seed=0, method="clip"):
    text = {"width": WIDTH, "layers": LAYERS, "heads": 4, "context_length": 77, "vocab_size": 300}
    model = {"text": text, "embed_dim": 128}
    if scheme:
        model["initialization"] = scheme
    config = tiny(model=model, method={"name": method}, seed=seed)
    return build_embedder(config, vocabulary, methods.build_method(config).head_type)


def list_weights(embedder):
    body = embedder.text_encoder.body
    block = body.encoder.layers[1]
    return {
        "tokens": body.embeddings.token_embedding.weight,
        "positions": body.embeddings.position_embedding.weight,
        "query": block.self_attn.q_proj.weight,
        "out": block.self_attn.out_proj.weight,
        "fc1": block.mlp.fc1.weight,
        "fc2": block.mlp.fc2.weight,
        "image": embedder.image_head.weight,
        "text": embedder.text_head.weight,
    }


def test_clip_standard_deviations(vocabulary):
    embedder = build(vocabulary, "clip")
    output_std = WIDTH**-0.5 * (2 * LAYERS) ** -0.5
    expected = {
        "tokens": 0.02,
        "positions": 0.01,
        "query": WIDTH**-0.5,
        "out": output_std,
        "fc1": (2 * WIDTH) ** -0.5,
        "fc2": output_std,
        "image": embedder.image_encoder.num_features**-0.5,
        "text": WIDTH**-0.5,
    }
    std_by_weight = {name: weight.std().item() for name, weight in list_weights(embedder).items()}
    assert std_by_weight == pytest.approx(expected, rel=0.08)


def test_unicl_standard_deviations(vocabulary):
    std_by_weight = {n: w.std().item() for n, w in list_weights(build(vocabulary, "unicl")).items()}
    assert std_by_weight == pytest.approx(dict.fromkeys(std_by_weight, 0.02), rel=0.08)


def test_the_default_changes_nothing_and_no_scheme_changes_the_image_encoder(vocabulary):
    default, library, clip = (build(vocabulary, s).state_dict() for s in (None, "library", "clip"))
    assert all(torch.equal(default[key], library[key]) for key in default)
    image = [key for key in default if key.startswith("image_encoder")]
    assert all(torch.equal(default[key], clip[key]) for key in image)
    assert not torch.equal(default["text_head.weight"], clip["text_head.weight"])


def test_weights_depend_on_the_seed_alone(vocabulary):
    first, repeated, other = (build(vocabulary, "clip", seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], repeated[key]) for key in first)
    assert not torch.equal(first["text_head.weight"], other["text_head.weight"])


def test_text_weights_are_shared_between_methods(vocabulary):
    one, two = (
        build(vocabulary, "clip").text_encoder,
        build(vocabulary, "clip", method="uniclip").text_encoder,
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
