"""The augmentation encoder and the image head: fusion, number of parameters, and influence of the
augmentation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uniclip.losses.image_text import clip_loss
from uniclip.models.heads import AugmentationEncoder, ImageHead

VECTOR_DIM, NUM_FEATURES = 13, 24


def count_parameters(module):
    return sum(p.numel() for p in module.parameters())


def build_head(fusion, width=16, embedding=32, blocks=2):
    torch.manual_seed(0)
    return ImageHead(NUM_FEATURES, width, embedding, blocks, fusion)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("embedding", [32, 128, 512])
@pytest.mark.parametrize("width", [16, 64, 256])
def test_film_and_concat_have_as_many_parameters(width, embedding, blocks):
    film, concat = (
        count_parameters(build_head(f, width, embedding, blocks)) for f in ("film", "concat")
    )
    assert abs(film - concat) <= 0.02 * film


@pytest.mark.parametrize("fusion", ["film", "concat", "none"])
def test_shapes_and_gradients(fusion):
    features, augmentation = torch.randn(5, NUM_FEATURES), torch.randn(5, 16)
    module = build_head(fusion)
    out = module(features, None if fusion == "none" else augmentation)
    assert out.shape == (5, 32)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("fusion", ["film", "concat"])
def test_the_augmentation_reaches_the_embedding(fusion):
    features, augmentation = torch.randn(1, NUM_FEATURES).expand(2, -1), torch.randn(2, 16)
    out = build_head(fusion)(features, augmentation)
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_projection_is_shared_by_the_fusions():
    weights = [build_head(fusion).projection.weight for fusion in ("film", "concat", "none")]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_head_without_vector_is_the_film_head_with_a_zero_vector():
    film, plain = build_head("film"), build_head("none")
    assert all(torch.equal(value, film.state_dict()[n]) for n, value in plain.state_dict().items())
    features = torch.randn(7, NUM_FEATURES)
    assert torch.equal(plain(features, None), film(features, torch.zeros(7, 16)))


def test_only_a_nonzero_vector_modulates_at_initialization():
    torch.manual_seed(1)
    encoder, module = AugmentationEncoder(VECTOR_DIM, 64), build_head("film", width=64)
    modulate = module.blocks[0].modulation
    assert torch.equal(modulate(encoder(torch.zeros(1, VECTOR_DIM))), torch.zeros(1, 64))
    spread = modulate(encoder(torch.randn(500, VECTOR_DIM))).std().item()
    assert 3 < spread < 12  # wide enough to change the sign of a unit


@pytest.mark.parametrize(("fusion", "learns"), [("film", True), ("none", False)])
def test_film_learns_a_product_of_image_and_augmentation(fusion, learns):
    """One bit of the text is the image's bit times the flip, which the vector holds."""
    torch.manual_seed(0)
    bits, batch = 6, 64
    encoder, module = (
        AugmentationEncoder(VECTOR_DIM, 32),
        ImageHead(NUM_FEATURES, 32, 32, 1, fusion),
    )
    text_head = nn.Linear(bits, 32)
    parameters = [p for m in (encoder, module, text_head) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    mix = torch.randn(bits, NUM_FEATURES) / bits**0.5

    def embed(n):
        text_bits = torch.randint(2, (n, bits)) * 2.0 - 1
        flip = torch.randint(2, (n,)).float()
        image_bits = text_bits.clone()
        image_bits[:, 0] *= 1 - 2 * flip
        vectors = torch.randn(n, VECTOR_DIM)
        vectors[:, 4] = 2 * flip
        augmentation = None if fusion == "none" else encoder(vectors)
        return F.normalize(module(image_bits @ mix, augmentation), dim=1), text_bits

    for _ in range(120):
        images, text_bits = embed(batch)
        loss = clip_loss(images, F.normalize(text_head(text_bits), dim=1), 14.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        images, text_bits = embed(1000)
        other = text_bits * torch.tensor([-1.0] + [1.0] * (bits - 1))
        true, false = (F.normalize(text_head(t), dim=1) for t in (text_bits, other))
        accuracy = ((images * true).sum(1) > (images * false).sum(1)).float().mean().item()
    assert accuracy > 0.95 if learns else abs(accuracy - 0.5) < 0.1
