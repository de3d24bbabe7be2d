"""Methods: how a batch becomes a pool, what each setting changes, and what is reported."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.helpers.small_runs import of_method, tiny
from tests.uniclip.models.test_embedder import CAPTIONS, aware, built
from uniclip import methods
from uniclip.augmentation import transform
from uniclip.config import RunConfig
from uniclip.data.batch import Batch
from uniclip.data.text import tokenizer as tokenizers
from uniclip.errors import UserError
from uniclip.losses.image_text import clip_loss
from uniclip.losses.multi_positive import mil_nce, mp_nce, multi_view_info_nce, sup_con

VIEWS, SAMPLES = 2, 6
LOSSES = {"mp_nce": mp_nce, "sup_con": sup_con, "mil_nce": mil_nce}


@pytest.fixture(scope="module")
def vocabulary():
    return tokenizers.train_bpe(CAPTIONS, 300)


def batch_of(vocabulary, views=VIEWS, samples=SAMPLES) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (views, samples, 3, 32, 32)
    words = (CAPTIONS * samples)[:samples]
    tokens = torch.from_numpy(vocabulary.encode(words, 16))
    targets = torch.where(torch.arange(tokens.shape[1]) == 1, tokens, -100)
    return Batch(
        images=torch.randint(256, shape, dtype=torch.uint8, generator=generator),
        augmentation_vectors=torch.randn(views, samples, transform.VECTOR_DIM, generator=generator),
        tokens=tokens,
        sample_ids=torch.tensor([2**62, -5, 7, 8, 9, 10, 11])[:samples],
        labels=torch.full((samples,), -1),
        augmented_tokens=torch.from_numpy(vocabulary.encode(words[::-1], 16)),
        masked_tokens=torch.where(targets >= 0, vocabulary.pad, tokens),
        mlm_labels=targets,
    )


def set_up(config: RunConfig, vocabulary):
    method, embedder = methods.build_method(config), built(config, vocabulary)
    method.build_heads(embedder, vocabulary, config.seed)
    return method, embedder


def pooled(embedder, batch, vectors=None):
    """The pool by hand: one view after the other, then the texts."""
    vectors = batch.vectors if vectors is None else vectors
    images = [embedder.images(p, v) for p, v in zip(batch.pixels, vectors)]
    z = torch.cat([*images, embedder.texts(batch.tokens)])
    slot = torch.arange(len(images) + 1).repeat_interleave(len(batch.sample))
    return z, torch.cat([batch.sample] * (len(images) + 1)), (slot == len(images)).long(), slot


@pytest.mark.parametrize("weights", ["balanced", "uniform", [0.0, 1.0, 1.0]], ids=str)
@pytest.mark.parametrize("loss", [*LOSSES, "multi_view_info_nce"])
def test_uniclip_contrasts_all_views_and_the_text_in_one_pool(vocabulary, loss, weights):
    method, embedder = set_up(aware(loss=loss, weights=weights), vocabulary)
    batch = batch_of(vocabulary)
    parts = method.compute_loss_terms(embedder, batch)
    z, sample, domain, slot = pooled(embedder, batch)
    if loss == "multi_view_info_nce":
        expected = multi_view_info_nce(z, sample, domain, slot, method.similarity, weights)
    else:
        expected = LOSSES[loss](z, sample, domain, method.similarity, weights)
    torch.testing.assert_close(parts, {"contrastive": expected}, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.sum_loss_terms(parts), expected, rtol=1e-5, atol=1e-6)


def test_domain_and_shared_similarity_start_at_the_same_bits(vocabulary):
    results = []
    for similarity in ("domain", "shared"):
        method, embedder = set_up(aware(similarity=similarity), vocabulary)
        loss = method.sum_loss_terms(method.compute_loss_terms(embedder, batch_of(vocabulary)))
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in embedder.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_with_one_view_three_losses_train_the_same_weights_bit_for_bit(vocabulary):
    results = []
    for loss in LOSSES:
        method, embedder = set_up(aware(loss=loss), vocabulary)
        modules = [*embedder.parameters(), *method.parameters()]
        optimizer = torch.optim.AdamW(modules, lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            batch = batch_of(vocabulary, views=1)
            method.sum_loss_terms(method.compute_loss_terms(embedder, batch)).backward()
            optimizer.step()
            method.clamp()
        results.append([p.detach() for p in modules])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize(
    ("setting", "acts"), [("true", True), ("shuffled", True), ("identity", False), ("none", False)]
)
def test_other_vectors_change_the_loss_only_where_awareness_is_on(vocabulary, setting, acts):
    method, embedder = set_up(aware(aware=setting), vocabulary)
    batch = batch_of(vocabulary)
    other = replace(batch, augmentation_vectors=batch.augmentation_vectors * -2)
    losses = [method.compute_loss_terms(embedder, b)["contrastive"] for b in (batch, other)]
    assert torch.equal(*losses) is not acts


@pytest.mark.parametrize("views", [1, 3])
def test_clip_is_the_mean_over_the_views(vocabulary, views):
    config = tiny(method={"name": "clip"}, views={"weak": views, "strong": 0})
    method, embedder = set_up(config, vocabulary)
    batch = batch_of(vocabulary, views)
    texts = embedder.encode_text(batch.tokens)
    losses = [
        clip_loss(embedder.encode_image(p, v), texts, 1 / 0.07)
        for p, v in zip(batch.images, batch.augmentation_vectors)
    ]
    given = method.compute_loss_terms(embedder, batch)["contrastive"]
    torch.testing.assert_close(given, sum(losses) / views, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_every_method_keeps_the_contract(vocabulary, name):
    config = of_method(name)
    method, embedder = set_up(config, vocabulary)
    batch = batch_of(vocabulary, config.views.num_weak + config.views.num_strong)
    parts = method.compute_loss_terms(embedder, batch)
    assert set(parts) == set(method.loss_weights)
    assert all(part.shape == () and part.isfinite() for part in parts.values())
    method.sum_loss_terms(parts).backward()
    assert all(p.grad is not None for p in embedder.parameters() if p.requires_grad)
    fast = method.similarity_parameters()
    assert {id(p) for p in fast} <= {id(p) for p in method.parameters()}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert method.forward_passes == config.method.forwards(config.views)
    assert method.head_type in ("aware", "linear")
    method.clamp()
    at_first = {"declip": math.exp(3)}.get(name, 1 / config.method.temperature)
    assert method.image_text_scale() == pytest.approx(at_first, rel=1e-5)
    assert all(math.isfinite(value) for value in method.get_learned_scalars().values())


def test_the_loss_weighs_the_parts():
    method = methods.build_method(tiny())
    method.loss_weights = {"a": 2.0, "b": 0.5}
    parts = {"a": torch.tensor(3.0), "b": torch.tensor(4.0)}
    assert method.sum_loss_terms(parts).item() == 8
    with pytest.raises(AssertionError):
        method.sum_loss_terms({"a": parts["a"]})


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_clamp_and_initial_temperature(name):
    method = methods.build_method(of_method(name, method={"temperature": 0.02}))
    assert method.image_text_scale() == pytest.approx(50)
    for parameter in method.similarity_parameters():
        torch.nn.init.constant_(parameter, 30.0)
    method.clamp()
    assert method.image_text_scale() == pytest.approx(100, rel=1e-5)
    assert max(p.abs().max().item() for p in method.similarity_parameters()) <= math.log(100) + 1e-6


LOWEST = {"uniclip": 0.0, "unicl": -30.0, "clip": -30.0, "slip": 0.0, "declip": 3.0}
"""What clamp makes of a logarithm of the scale of -30, by method; CLIP and UniCL have no bound."""


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_the_lower_bound_of_the_scale(name):
    method = methods.build_method(of_method(name))
    for parameter in method.similarity_parameters():
        torch.nn.init.constant_(parameter, -30.0)
    method.clamp()
    assert math.log(method.image_text_scale()) == pytest.approx(LOWEST[name], abs=1e-5)


def test_reports_have_their_agreed_names():
    names = {"tau_ii", "tau_it", "tau_tt", "b_ii", "b_it", "b_tt"}
    assert set(methods.build_method(aware()).get_learned_scalars()) == names
    assert set(methods.build_method(aware(similarity="shared")).get_learned_scalars()) == names
    assert methods.build_method(tiny(method={"name": "clip"})).get_learned_scalars() == {
        "scale": pytest.approx(1 / 0.07)
    }


def test_engagement_is_the_loss_without_a_component_minus_the_loss(vocabulary):
    method, embedder = set_up(aware(), vocabulary)
    with torch.no_grad():
        method.similarity.log_scale.copy_(torch.tensor([1.0, 2.0, 3.0]))
        method.similarity.offset.copy_(torch.tensor([0.4, 0.0, -0.3]))
    batch = batch_of(vocabulary)
    engaged = method.compute_knockout_effects(embedder, batch)
    assert set(engaged) == {"awareness", "mp_nce", "domain_similarity"}
    assert all(abs(value) > 1e-5 for value in engaged.values())
    as_is = method.compute_loss_terms(embedder, batch)["contrastive"].item()
    z, sample, domain, _ = pooled(embedder, batch)
    positives_too = sup_con(z, sample, domain, method.similarity).item()
    assert engaged["mp_nce"] == pytest.approx(positives_too - as_is, abs=1e-5)
    with torch.no_grad():
        method.similarity.log_scale.fill_(2.0)
        method.similarity.offset.zero_()
    shared = method.compute_loss_terms(embedder, batch)["contrastive"].item()
    assert engaged["domain_similarity"] == pytest.approx(shared - as_is, abs=1e-5)


def test_engagement_names_only_the_components_that_are_on(vocabulary):
    off = {"aware": "identity", "loss": "sup_con", "similarity": "shared"}
    for config in (aware(**off), tiny(method={"name": "clip"})):
        method, embedder = set_up(config, vocabulary)
        assert method.compute_knockout_effects(embedder, batch_of(vocabulary)) == {}


def test_an_unknown_method_is_refused_with_the_nearest_name():
    config = tiny()
    with pytest.raises(UserError, match="uniclip"):
        methods.build_method(replace(config, method=replace(config.method, name="uniclp")))
