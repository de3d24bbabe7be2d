"""The augmentation encoder and the image head: fusion, size, what an augmentation may change."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uniclip.losses.image_text import clip_loss
from uniclip.models.heads import AugmentationEncoder, ImageHead

NUMBERS, FEATURES = 13, 24


def size(module):
    return sum(p.numel() for p in module.parameters())


def head(fusion, width=16, embedding=32, blocks=2):
    torch.manual_seed(0)
    return ImageHead(FEATURES, width, embedding, blocks, fusion)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("embedding", [32, 128, 512])
@pytest.mark.parametrize("width", [16, 64, 256])
def test_film_and_concat_have_as_many_parameters(width, embedding, blocks):
    film, concat = (size(head(f, width, embedding, blocks)) for f in ("film", "concat"))
    assert abs(film - concat) <= 0.02 * film


@pytest.mark.parametrize("fusion", ["film", "concat", "none"])
def test_shapes_and_gradients(fusion):
    features, augmentation = torch.randn(5, FEATURES), torch.randn(5, 16)
    module = head(fusion)
    out = module(features, None if fusion == "none" else augmentation)
    assert out.shape == (5, 32)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("fusion", ["film", "concat"])
def test_the_augmentation_reaches_the_embedding(fusion):
    features, augmentation = torch.randn(1, FEATURES).expand(2, -1), torch.randn(2, 16)
    out = head(fusion)(features, augmentation)
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_projection_is_shared_by_the_fusions():
    weights = [head(fusion).projection.weight for fusion in ("film", "concat", "none")]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_head_without_its_vector_is_the_film_head_that_is_told_nothing():
    film, plain = head("film"), head("none")
    assert all(torch.equal(value, film.state_dict()[n]) for n, value in plain.state_dict().items())
    features = torch.randn(7, FEATURES)
    assert torch.equal(plain(features, None), film(features, torch.zeros(7, 16)))


def test_nothing_done_modulates_nothing_at_first_and_something_done_does():
    torch.manual_seed(1)
    encoder, module = AugmentationEncoder(NUMBERS, 64), head("film", width=64)
    modulate = module.blocks[0].modulation
    assert torch.equal(modulate(encoder(torch.zeros(1, NUMBERS))), torch.zeros(1, 64))
    spread = modulate(encoder(torch.randn(500, NUMBERS))).std().item()
    assert 3 < spread < 12  # wide enough to turn the sign of a unit


@pytest.mark.parametrize(("fusion", "learns"), [("film", True), ("none", False)])
def test_a_product_of_picture_and_augmentation_is_learnt_through_film(fusion, learns):
    """A bit of the text is the picture's bit times the flip; the flip stands in the vector."""
    torch.manual_seed(0)
    bits, batch = 6, 64
    encoder, module = AugmentationEncoder(NUMBERS, 32), ImageHead(FEATURES, 32, 32, 1, fusion)
    text_head = nn.Linear(bits, 32)
    parameters = [p for m in (encoder, module, text_head) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-3)
    mix = torch.randn(bits, FEATURES) / bits**0.5

    def embedded(n):
        said = torch.randint(2, (n, bits)) * 2.0 - 1
        flip = torch.randint(2, (n,)).float()
        seen = said.clone()
        seen[:, 0] *= 1 - 2 * flip
        vectors = torch.randn(n, NUMBERS)
        vectors[:, 4] = 2 * flip
        augmentation = None if fusion == "none" else encoder(vectors)
        return F.normalize(module(seen @ mix, augmentation), dim=1), said

    for _ in range(120):
        images, said = embedded(batch)
        loss = clip_loss(images, F.normalize(text_head(said), dim=1), 14.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        images, said = embedded(1000)
        other = said * torch.tensor([-1.0] + [1.0] * (bits - 1))
        true, false = (F.normalize(text_head(t), dim=1) for t in (said, other))
        right = ((images * true).sum(1) > (images * false).sum(1)).float().mean().item()
    assert right > 0.95 if learns else abs(right - 0.5) < 0.1
