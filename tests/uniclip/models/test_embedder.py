"""The embedder: unit rows, seeded components, and the augmentation input of each setting."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tests.helpers.small_models import (
    CAPTIONS,
    build_small_embedder,
    train_small_tokenizer,
    uniclip_config,
)
from tests.helpers.small_runs import tiny
from uniclip.augmentation import transform
from uniclip.config.heads import Fusion

PARTS = ["image_encoder", "text_encoder", "augmentation_encoder", "image_head", "text_head"]


@pytest.fixture(scope="session")
def vocabulary():
    return train_small_tokenizer()


CLIP = {"name": "clip"}


def inputs(n=4):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return pixels, torch.randn(n, transform.VECTOR_DIM, generator=generator)


def part(embedder, name):
    return {k: v for k, v in embedder.state_dict().items() if k.startswith(f"{name}.")}


def same(first, second, name):
    first, second = part(first, name), part(second, name)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("method", [{"name": "uniclip"}, CLIP], ids=lambda m: m["name"])
def test_embeddings_are_unit_rows_of_one_space(vocabulary, method):
    config = tiny(method=method)
    embedder = build_small_embedder(config, vocabulary)
    tokens = torch.from_numpy(vocabulary.encode(CAPTIONS, 16))
    for rows in (embedder.encode_image(*inputs()), embedder.encode_text(tokens)):
        assert rows.dtype == torch.float32
        assert rows.shape[1] == config.model.embed_dim
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    assert embedder.compute_image_features(inputs()[0]).shape == (
        4,
        embedder.image_encoder.num_features,
    )


def test_embeddings_are_float32_unit_rows_under_autocast(vocabulary):
    embedder = build_small_embedder(uniclip_config(), vocabulary)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = embedder.encode_image(*inputs())
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4))


def test_parameters_are_named_after_their_components(vocabulary):
    names = {
        name.split(".")[0]
        for name, _ in build_small_embedder(uniclip_config(), vocabulary).named_parameters()
    }
    assert names == set(PARTS)
    names = {
        name.split(".")[0]
        for name, _ in build_small_embedder(tiny(method=CLIP), vocabulary).named_parameters()
    }
    assert names == set(PARTS) - {"augmentation_encoder"}


def test_weights_depend_on_the_seed_and_not_on_global_state(vocabulary):
    torch.manual_seed(1)
    first = build_small_embedder(uniclip_config(), vocabulary)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = build_small_embedder(uniclip_config(), vocabulary)
    assert torch.equal(torch.get_rng_state(), before)
    other = build_small_embedder(tiny(seed=1), vocabulary)
    for name in PARTS:
        assert same(first, second, name)
        assert not same(first, other, name)
    assert not torch.equal(first.text_head.weight, first.image_head.projection.weight[:, :32])


def test_the_stream_changes_no_initial_weight(vocabulary):
    first, other = (
        build_small_embedder(uniclip_config(), vocabulary),
        build_small_embedder(tiny(stream=1), vocabulary),
    )
    assert all(same(first, other, name) for name in PARTS)


def test_configurations_share_the_initial_weights_of_shared_parts(vocabulary):
    full = build_small_embedder(uniclip_config(), vocabulary)
    clip = build_small_embedder(tiny(method=CLIP), vocabulary)
    assert all(same(full, clip, n) for n in ("image_encoder", "text_encoder", "text_head"))
    for method in (
        {"augmentation_input": "identity"},
        {"augmentation_input": "shuffled"},
        {"loss": "sup_con"},
    ):
        assert all(
            same(full, build_small_embedder(uniclip_config(**method), vocabulary), name)
            for name in PARTS
        )
    concat = build_small_embedder(uniclip_config(fusion="concat"), vocabulary)
    assert all(same(full, concat, name) for name in set(PARTS) - {"image_head"})
    for other in (
        concat,
        build_small_embedder(uniclip_config(augmentation_input="none"), vocabulary),
    ):
        assert torch.equal(full.image_head.projection.weight, other.image_head.projection.weight)


USES_VECTOR = {"true": True, "shuffled": True, "identity": False, "none": False}
"""By method.augmentation_input."""
CASES = [(setting, fusion) for setting in USES_VECTOR for fusion in get_args(Fusion)]


@pytest.mark.parametrize(
    ("setting", "fusion"), [c for c in CASES if c[0] != "none" or c[1] == "product_concat"]
)
def test_vectors_matter_only_with_awareness(vocabulary, setting, fusion):
    uses_vector = USES_VECTOR[setting]
    embedder = build_small_embedder(
        uniclip_config(augmentation_input=setting, fusion=fusion), vocabulary
    )
    pixels, vectors = inputs()
    rows = embedder.encode_image(pixels, vectors)
    other_rows = embedder.encode_image(pixels, -3 * vectors)
    assert torch.equal(rows, other_rows) is not uses_vector
    if not uses_vector:
        rows.sum().backward()
        identity_rows = embedder.encode_image(pixels, torch.zeros_like(vectors))
        assert torch.equal(rows, identity_rows)


def test_f_a_and_the_modulation_are_built_as_configured(vocabulary):
    small_start = {"fusion": "product", "modulation_init_gain": 0.25}
    embedder = build_small_embedder(
        tiny(method={"name": "uniclip", **small_start}, model={"augmentation_layers": 6}),
        vocabulary,
    )
    default = build_small_embedder(uniclip_config(fusion="product"), vocabulary)
    assert len(embedder.augmentation_encoder.layers) == 11
    weight, default_weight = (
        e.image_head.blocks[0].modulation.output.weight for e in (embedder, default)
    )
    torch.testing.assert_close(weight, 0.25 * default_weight)


def test_awareness_off_has_the_same_parameters(vocabulary):
    sizes = {
        setting: sum(
            p.numel()
            for p in build_small_embedder(
                uniclip_config(augmentation_input=setting), vocabulary
            ).parameters()
        )
        for setting in ("true", "identity", "shuffled", "none")
    }
    assert sizes["true"] == sizes["identity"] == sizes["shuffled"] > sizes["none"]


def test_clip_projects_linearly_and_ignores_vectors(vocabulary):
    embedder = build_small_embedder(tiny(method=CLIP), vocabulary)
    pixels, vectors = inputs()
    assert torch.equal(
        embedder.encode_image(pixels, vectors), embedder.encode_image(pixels, vectors + 1)
    )
    for head in (embedder.image_head, embedder.text_head):
        assert isinstance(head, torch.nn.Linear)
        assert head.bias is None
