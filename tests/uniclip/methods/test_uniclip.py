"""UniCLIP: what is contrasted, what each setting changes, and what is reported."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
    embed_batch,
    uniclip_config,
)
from tests.helpers.small_runs import tiny
from uniclip import methods
from uniclip.augmentation import transform
from uniclip.losses.multi_positive import (
    mil_nce,
    mp_nce,
    multi_positive,
    multi_view_info_nce,
    sup_con,
)
from uniclip.losses.similarity import DomainSimilarity

LOSSES = {"mp_nce": mp_nce, "sup_con": sup_con, "mil_nce": mil_nce}


@pytest.mark.parametrize("weights", ["balanced", "uniform", [0.0, 1.0, 1.0]], ids=str)
@pytest.mark.parametrize("loss", [*LOSSES, "multi_view_info_nce"])
def test_the_loss_is_over_all_views_and_texts(vocabulary, loss, weights):
    method, embedder = build_method_and_embedder(
        uniclip_config(loss=loss, positive_weights=weights), vocabulary
    )
    batch = build_batch(vocabulary)
    parts = method.compute_loss_terms(embedder, batch)
    z, sample, domain, slot = embed_batch(embedder, batch)
    if loss == "multi_view_info_nce":
        expected = multi_view_info_nce(z, sample, domain, slot, method.similarity, weights)
    else:
        expected = LOSSES[loss](z, sample, domain, method.similarity, weights)
    torch.testing.assert_close(parts, {"contrastive": expected}, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.sum_loss_terms(parts), expected, rtol=1e-5, atol=1e-6)


def test_domain_and_shared_similarity_start_at_the_same_bits(vocabulary):
    results = []
    for similarity in ("domain", "shared"):
        method, embedder = build_method_and_embedder(
            uniclip_config(similarity=similarity), vocabulary
        )
        loss = method.sum_loss_terms(method.compute_loss_terms(embedder, build_batch(vocabulary)))
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in embedder.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_with_one_view_three_losses_train_the_same_weights_bit_for_bit(vocabulary):
    results = []
    for loss in LOSSES:
        method, embedder = build_method_and_embedder(uniclip_config(loss=loss), vocabulary)
        modules = [*embedder.parameters(), *method.parameters()]
        optimizer = torch.optim.AdamW(modules, lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            batch = build_batch(vocabulary, num_views=1)
            method.sum_loss_terms(method.compute_loss_terms(embedder, batch)).backward()
            optimizer.step()
            method.clamp()
        results.append([p.detach() for p in modules])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize(
    ("setting", "acts"), [("true", True), ("shuffled", True), ("identity", False), ("none", False)]
)
def test_other_vectors_change_the_loss_only_with_awareness(vocabulary, setting, acts):
    method, embedder = build_method_and_embedder(
        uniclip_config(augmentation_input=setting), vocabulary
    )
    batch = build_batch(vocabulary)
    other = replace(batch, augmentation_vectors=batch.augmentation_vectors * -2)
    losses = [method.compute_loss_terms(embedder, b)["contrastive"] for b in (batch, other)]
    assert torch.equal(*losses) is not acts


def test_learned_scalars_have_these_names():
    names = {"tau_ii", "tau_it", "tau_tt", "b_ii", "b_it", "b_tt"}
    assert set(methods.build_method(uniclip_config()).get_learned_scalars()) == names
    assert (
        set(methods.build_method(uniclip_config(similarity="shared")).get_learned_scalars())
        == names
    )
    assert methods.build_method(tiny(method={"name": "clip"})).get_learned_scalars() == {
        "logit_scale": pytest.approx(1 / 0.07)
    }


def test_knockout_effect_is_the_loss_without_a_component_minus_the_loss(vocabulary):
    method, embedder = build_method_and_embedder(uniclip_config(), vocabulary)
    with torch.no_grad():
        method.similarity.log_scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        method.similarity.offset.copy_(torch.tensor([0.4, 0.0, -0.3]))
    batch = build_batch(vocabulary)
    effects = method.compute_knockout_effects(embedder, batch)
    assert set(effects) == {"awareness", "mp_nce", "domain_similarity"}
    assert all(abs(value) > 1e-5 for value in effects.values())
    as_is = method.compute_loss_terms(embedder, batch)["contrastive"].item()
    z, sample, domain, _ = embed_batch(embedder, batch)
    positives_too = sup_con(z, sample, domain, method.similarity).item()
    assert effects["mp_nce"] == pytest.approx(positives_too - as_is, abs=1e-5)
    with torch.no_grad():
        method.similarity.log_scale.fill_(2.0)
        method.similarity.offset.zero_()
    shared = method.compute_loss_terms(embedder, batch)["contrastive"].item()
    assert effects["domain_similarity"] == pytest.approx(shared - as_is, abs=1e-5)


def test_knockout_effects_name_only_the_components_that_are_on(vocabulary):
    off = {"augmentation_input": "identity", "loss": "sup_con", "similarity": "shared"}
    for config in (uniclip_config(**off), tiny(method={"name": "clip"})):
        method, embedder = build_method_and_embedder(config, vocabulary)
        assert method.compute_knockout_effects(embedder, build_batch(vocabulary)) == {}


LOG_SCALES, OFFSETS = (1.0, 2.0, 3.0), (0.4, 0.0, -0.3)
"""Parameters of II, IT and TT, different from the initial ones."""


JITTER = ("jittered", "brightness", "contrast", "saturation", "hue")


def similarity(log_scales=LOG_SCALES, offsets=OFFSETS):
    """Return a similarity with these parameters."""
    domain_similarity = DomainSimilarity()
    with torch.no_grad():
        domain_similarity.log_scale.copy_(torch.tensor(log_scales))
        domain_similarity.offset.copy_(torch.tensor(offsets))
    return domain_similarity


def move_similarity(method):
    """Move the parameters of the method's similarity away from their initial values."""
    with torch.no_grad():
        leaf = method.similarity.log_scale
        leaf.copy_(torch.tensor(LOG_SCALES) if leaf.ndim else torch.tensor(LOG_SCALES[1]))
        if hasattr(method.similarity, "offset"):
            method.similarity.offset.copy_(torch.tensor(OFFSETS))
    return method


def contrast(rows, scores=None, **switches):
    z, sample, domain, slot = rows
    return multi_positive(z, sample, domain, slot, scores or similarity(), **switches)


def with_images(rows, images):
    """Replace the image embeddings of a batch."""
    z, *ids = rows
    return torch.cat([images, z[len(images) :]]), *ids


def embed_images_with_block(embedder, batch, block):
    """Return the unit rows of the images, with `block` for the head's one residual block."""
    features, vectors = (
        embedder.compute_image_features(batch.images.flatten(0, 1)),
        batch.augmentation_vectors.flatten(0, 1),
    )
    hidden = embedder.image_head.projection(features)
    return F.normalize(block(embedder.image_head.blocks[0], hidden, embedder, vectors), dim=-1)


def film(block, hidden, embedder, vectors):
    gamma, beta = block.modulation(embedder.augmentation_encoder(vectors)).chunk(2, dim=-1)
    hidden = (1 + gamma) * block.norm(hidden) + beta
    return hidden + block.mlp(hidden)


def cosine(block, hidden, embedder, vectors):
    gamma, beta = block.modulation(embedder.augmentation_encoder(vectors)).chunk(2, dim=-1)
    hidden = gamma.cos() * block.norm(hidden) + beta
    return hidden + block.mlp(hidden)


def product(block, hidden, embedder, vectors):
    hidden = add_product(block, hidden, embedder, vectors)
    return hidden + block.mlp(hidden)


def product_concat(block, hidden, embedder, vectors):
    hidden = add_product(block, hidden, embedder, vectors)
    features = embedder.augmentation_encoder(vectors)
    return hidden + block.fusion_mlp(torch.cat([hidden, features], dim=-1))


def add_product(block, hidden, embedder, vectors):
    features, product = embedder.augmentation_encoder(vectors), block.modulation
    hidden = block.norm(hidden)
    factors = product.image_factor(hidden) * product.augmentation_factor(features)
    return hidden + product.output(factors)


def concat(block, hidden, embedder, vectors):
    features = embedder.augmentation_encoder(vectors)
    return hidden + block.fusion_mlp(torch.cat([block.norm(hidden), features], dim=-1))


def plain(block, hidden, embedder, vectors):
    hidden = block.norm(hidden)
    return hidden + block.mlp(hidden)


def keep_columns(batch, *names):
    """Return the augmentation vectors with all columns but `names` set to zero."""
    is_visible = [name in names for name in transform.VECTOR_COLUMNS]
    return batch.augmentation_vectors * torch.tensor(is_visible)


def fused(block):
    def expected(embedder, batch):
        rows = embed_batch(embedder, batch)
        return contrast(with_images(rows, embed_images_with_block(embedder, batch, block)))

    return expected


def of_rows(scores=None, **switches):
    return lambda embedder, batch: contrast(embed_batch(embedder, batch), scores, **switches)


def of_vectors(change):
    return lambda embedder, batch: contrast(embed_batch(embedder, batch, change(batch)))


CASES = {
    "film": ({"fusion": "film"}, fused(film)),
    "cosine": ({"fusion": "cosine"}, fused(cosine)),
    "product": ({"fusion": "product"}, fused(product)),
    "product_concat": ({}, fused(product_concat)),
    "concat": ({"fusion": "concat"}, fused(concat)),
    "no f_A": ({"augmentation_input": "none"}, fused(plain)),
    "identity vectors": (
        {"augmentation_input": "identity"},
        of_vectors(lambda b: torch.zeros_like(b.augmentation_vectors)),
    ),
    "shuffled vectors": (
        {"augmentation_input": "shuffled"},
        of_vectors(lambda b: b.augmentation_vectors.roll(1, dims=1)),
    ),
    "flips visible": (
        {"visible_transforms": ["flip"]},
        of_vectors(lambda b: keep_columns(b, "flip")),
    ),
    "colors visible": (
        {"visible_transforms": ["jitter", "grey"]},
        of_vectors(lambda b: keep_columns(b, *JITTER, "grey")),
    ),
    "temperatures": ({"similarity": "temperatures"}, of_rows(similarity(offsets=(0, 0, 0)))),
    "offsets": ({"similarity": "offsets"}, of_rows(similarity(log_scales=(1, 1, 1)))),
    "shared": ({"similarity": "shared"}, of_rows(similarity((2, 2, 2), (0, 0, 0)))),
    "by domain": ({"negatives": "domain"}, of_rows(negatives="domain")),
    "by slot": ({"negatives": "slot"}, of_rows(negatives="slot")),
    "no text of a text": ({"negatives": "not_text_text"}, of_rows(negatives="not_text_text")),
    "sup_con by slot": (
        {"loss": "sup_con", "negatives": "slot"},
        of_rows(negatives="slot", denominator="all"),
    ),
}
"""Settings of the method, and a function that computes the loss."""


@pytest.mark.parametrize("name", CASES)
def test_each_setting_changes_the_loss_as_defined(vocabulary, name):
    options, expected = CASES[name]
    method, embedder = build_method_and_embedder(uniclip_config(**options), vocabulary)
    batch = build_batch(vocabulary)
    loss = move_similarity(method).compute_loss_terms(embedder, batch)["contrastive"]
    embedder.mask_input, embedder.column_mask = (
        False,
        None,
    )  # `expected` passes the vectors that f_A receives
    torch.testing.assert_close(loss, expected(embedder, batch), rtol=1e-5, atol=1e-5)
    default, whole = build_method_and_embedder(uniclip_config(), vocabulary)
    as_default = move_similarity(default).compute_loss_terms(whole, batch)["contrastive"]
    assert ((loss - as_default).abs() > 1e-4) == (options != {})
