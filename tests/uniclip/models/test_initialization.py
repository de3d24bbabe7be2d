"""Initial weights as published: the deviations of the sources, and nothing else moved."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.data.text import tokenizer
from uniclip.models.embedder import build_embedder

WIDTH, LAYERS = 256, 3


@pytest.fixture(scope="module")
def words():
    return tokenizer.train_bpe(["a red disc", "a blue cross"], 300)


def built(words, scheme, seed=0, method="clip"):
    text = {"width": WIDTH, "layers": LAYERS, "heads": 4, "context_length": 77, "vocab_size": 300}
    model = {"text": text, "embed_dim": 128}
    if scheme:
        model["initialization"] = scheme
    config = tiny(model=model, method={"name": method}, seed=seed)
    return build_embedder(config, words, methods.build_method(config).head_type)


def deviations(embedder):
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


def test_clips_deviations(words):
    embedder = built(words, "clip")
    outward = WIDTH**-0.5 * (2 * LAYERS) ** -0.5
    expected = {
        "tokens": 0.02,
        "positions": 0.01,
        "query": WIDTH**-0.5,
        "out": outward,
        "fc1": (2 * WIDTH) ** -0.5,
        "fc2": outward,
        "image": embedder.image_encoder.num_features**-0.5,
        "text": WIDTH**-0.5,
    }
    found = {name: weight.std().item() for name, weight in deviations(embedder).items()}
    assert found == pytest.approx(expected, rel=0.08)


def test_unicls_deviations(words):
    found = {n: w.std().item() for n, w in deviations(built(words, "unicl")).items()}
    assert found == pytest.approx(dict.fromkeys(found, 0.02), rel=0.08)


def test_the_default_moves_nothing_and_schemes_leave_the_image_encoder(words):
    default, library, clip = (built(words, s).state_dict() for s in (None, "library", "clip"))
    assert all(torch.equal(default[key], library[key]) for key in default)
    image = [key for key in default if key.startswith("image_encoder")]
    assert all(torch.equal(default[key], clip[key]) for key in image)
    assert not torch.equal(default["text_head.weight"], clip["text_head.weight"])


def test_it_is_a_function_of_the_seed(words):
    one, again, other = (built(words, "clip", seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["text_head.weight"], other["text_head.weight"])


def test_text_weights_are_shared_between_methods(words):
    one, two = (
        built(words, "clip").text_encoder,
        built(words, "clip", method="uniclip").text_encoder,
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
