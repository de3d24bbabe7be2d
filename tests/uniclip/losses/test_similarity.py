"""Similarities: parameters, ranges, and equal initial values."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from uniclip.losses.multi_positive import mil_nce, mp_nce, sup_con
from uniclip.losses.similarity import (
    DOMAIN_PAIRS,
    DomainSimilarity,
    SharedSimilarity,
    get_image_text_scale,
)

COSINE = torch.linspace(-1, 1, 12).view(3, 4)
PAIR = torch.arange(12).view(3, 4) % 3


def build_embeddings(samples=9, images=2):
    z = torch.randn(samples * (images + 1), 16, generator=torch.Generator().manual_seed(0))
    slot = torch.arange(images + 1).repeat_interleave(samples)
    sample = torch.arange(samples).repeat(images + 1)
    return F.normalize(z, dim=1).requires_grad_(), sample, (slot == images).long()


def test_scores_are_the_equation():
    similarity = DomainSimilarity()
    taus, offsets = (0.05, 0.2, 0.5), (0.3, 0.0, -0.6)
    with torch.no_grad():
        similarity.log_scale.copy_(-torch.tensor(taus).log())
        similarity.offset.copy_(torch.tensor(offsets))
    scores = similarity(COSINE, PAIR)
    for i in range(3):
        for j in range(4):
            pair = int(PAIR[i, j])
            expected = (float(COSINE[i, j]) - offsets[pair]) / taus[pair]
            assert scores[i, j].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 0.01, 0.4])
@pytest.mark.parametrize("loss", [mp_nce, sup_con, mil_nce])
def test_domain_and_shared_similarity_start_equal_bit_for_bit(loss, temperature):
    results = []
    for kind in (DomainSimilarity, SharedSimilarity):
        z, sample, domain = build_embeddings()
        value = loss(z, sample, domain, kind(temperature))
        results.append((value.detach(), *torch.autograd.grad(value, z)))
    assert all(torch.equal(a, b) for a, b in zip(*results))
    scores = [kind(temperature)(COSINE, PAIR) for kind in (DomainSimilarity, SharedSimilarity)]
    assert torch.equal(*scores)


def test_shared_gradient_is_the_sum_over_the_domain_pairs():
    gradients = []
    for similarity in (DomainSimilarity(), SharedSimilarity()):
        z, sample, domain = build_embeddings()
        loss = mp_nce(z.double(), sample, domain, similarity.double())
        gradients.append(torch.autograd.grad(loss, similarity.log_scale)[0].sum())
    torch.testing.assert_close(*gradients)


def test_parameters_have_these_names_and_shapes():
    leaves = {name: leaf.shape for name, leaf in DomainSimilarity().named_parameters()}
    assert leaves == {"log_scale": (3,), "offset": (3,)}
    assert {n: leaf.shape for n, leaf in SharedSimilarity().named_parameters()} == {"log_scale": ()}
    assert set(DomainSimilarity().state_dict()) == {"log_scale", "offset"}
    assert DOMAIN_PAIRS == ("ii", "it", "tt")


def test_image_text_offset_and_its_gradient_stay_zero():
    similarity = DomainSimilarity()
    with torch.no_grad():
        similarity.offset.fill_(0.5)
    z, sample, domain = build_embeddings()
    mp_nce(z, sample, domain, similarity).backward()
    assert similarity.offset.grad[1] == 0
    assert (similarity.offset.grad[[0, 2]].abs() > 1e-6).all()
    assert similarity.get_learned_scalars()["b_it"] == 0
    assert similarity.get_learned_scalars()["b_ii"] == 0.5
    similarity.clamp()
    assert similarity.offset.tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("kind", [DomainSimilarity, SharedSimilarity])
def test_clamp_keeps_temperatures_and_offsets_in_range(kind):
    similarity = kind()
    inside = {name: leaf.clone() for name, leaf in similarity.named_parameters()}
    similarity.clamp()
    assert all(torch.equal(inside[n], leaf) for n, leaf in similarity.named_parameters())
    for extreme, tau in ((50.0, 0.01), (-50.0, 1.0)):
        with torch.no_grad():
            for leaf in similarity.parameters():
                leaf.fill_(extreme)
        similarity.clamp()
        report = similarity.get_learned_scalars()
        assert [report[f"tau_{pair}"] for pair in DOMAIN_PAIRS] == pytest.approx([tau] * 3)
        bound = math.copysign(1.0, extreme) if kind is DomainSimilarity else 0.0
        assert [report[f"b_{pair}"] for pair in DOMAIN_PAIRS] == [bound, 0.0, bound]


@pytest.mark.parametrize("kind", [DomainSimilarity, SharedSimilarity])
def test_image_text_scale_is_the_inverse_of_its_temperature(kind):
    similarity = kind(0.2)
    assert get_image_text_scale(similarity) == pytest.approx(5)
    assert similarity.get_learned_scalars()["tau_it"] == pytest.approx(0.2)
