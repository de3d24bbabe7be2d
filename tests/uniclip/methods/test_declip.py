"""DeCLIP against its definition: four losses, and a queue of captions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.loss_batches import LargestTensor
from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import of_method, tiny
from uniclip.data import open_split
from uniclip.data.loader import TrainingBatches
from uniclip.data.text import tokenizer as tokenizers
from uniclip.losses.image_text import clip_loss
from uniclip.methods import declip


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_declip_is_the_sum_of_its_four_losses(vocabulary):
    method, embedder = build_method_and_embedder(of_method("declip"), vocabulary)
    batch, queue = build_batch(vocabulary), method.queue.clone()
    loss_terms = method.compute_loss_terms(embedder, batch)
    raw = [
        embedder.apply_image_head(embedder.compute_image_features(p), v)
        for p, v in zip(batch.images, batch.augmentation_vectors)
    ]
    views = [F.normalize(rows, dim=-1) for rows in raw]
    texts = [
        embedder.encode_text(batch.masked_tokens),
        embedder.encode_text(batch.augmented_tokens),
    ]
    scale, targets = torch.e**3, torch.arange(6)
    assert_close(
        loss_terms["contrastive"], sum(clip_loss(v, t, scale) for v in views for t in texts) / 4
    )
    nearest = [queue.float()[(t @ queue.float().T).argmax(1)] for t in texts]
    terms = [F.cross_entropy(scale * v @ n.T, targets) for v in views for n in nearest]
    torch.testing.assert_close(loss_terms["nearest_neighbor"], sum(terms) / 4, rtol=1e-2, atol=1e-2)
    projected = [method.projector(rows) for rows in raw]
    predictions = [method.predictor(rows) for rows in projected]
    cosine = [F.cosine_similarity(predictions[i], projected[1 - i]).mean() for i in (0, 1)]
    assert_close(loss_terms["simsiam"], -sum(cosine) / 2)
    logits = method.language_head(embedder.compute_text_hidden_states(batch.masked_tokens))
    expected = F.cross_entropy(logits.flatten(0, 1), batch.mlm_labels.flatten(), ignore_index=-100)
    assert_close(loss_terms["mlm"], expected)
    weighted = zip((0.4, 0.2, 0.2, 0.2), loss_terms.values())
    assert_close(method.sum_loss_terms(loss_terms), sum(w * part for w, part in weighted))


def test_the_queue_replaces_the_oldest_rows_and_has_no_gradient(vocabulary):
    method, embedder = build_method_and_embedder(of_method("declip"), vocabulary)
    batch, before = build_batch(vocabulary), method.queue.clone()
    method.sum_loss_terms(method.compute_loss_terms(embedder, batch)).backward()
    texts = torch.cat(
        [embedder.encode_text(batch.masked_tokens), embedder.encode_text(batch.augmented_tokens)]
    )
    assert torch.equal(method.queue[:12], texts.half())
    assert torch.equal(method.queue[12:], before[12:])
    assert method.queue_position == 12
    for _ in range(4):
        method.compute_loss_terms(embedder, batch)
    assert method.queue_position == 60 % 48
    method.eval()
    queue_before = method.queue.clone()
    method.compute_loss_terms(embedder, batch)
    assert torch.equal(method.queue, queue_before)


@pytest.mark.parametrize("queue_size", [1, 7, 11, 12])
def test_a_queue_smaller_than_a_batch_takes_both_kinds_of_captions(vocabulary, queue_size):
    method, embedder = build_method_and_embedder(
        of_method("declip", method={"queue_size": queue_size}), vocabulary
    )
    batch = build_batch(vocabulary)  # six samples
    method.compute_loss_terms(embedder, batch)
    captions, augmented = (
        embedder.encode_text(t).half() for t in (batch.masked_tokens, batch.augmented_tokens)
    )
    expected = torch.cat([captions[: (queue_size + 1) // 2], augmented[: queue_size // 2]])
    assert torch.equal(method.queue, expected)
    assert method.queue_position == 0


def test_neighbors_are_looked_up_a_few_rows_at_a_time(vocabulary):
    method, _ = build_method_and_embedder(
        of_method("declip", method={"queue_size": 3000}), vocabulary
    )
    queue = method.queue.float()
    texts = F.normalize(torch.randn(2 * declip.NEIGHBOR_CHUNK_ROWS + 3, queue.shape[1]), dim=-1)
    expected = F.normalize(queue[(texts @ queue.T).argmax(1)], dim=-1)
    with LargestTensor() as largest:
        assert torch.equal(method._find_neighbors(texts), expected)
    assert largest.largest == declip.NEIGHBOR_CHUNK_ROWS * len(queue)


def test_simsiam_stops_the_gradient_of_the_target(vocabulary):
    method, _ = build_method_and_embedder(of_method("declip"), vocabulary)
    raw = [torch.randn(6, 16, requires_grad=True) for _ in range(2)]
    projected = [method.projector(rows) for rows in raw]
    predictions = [method.predictor(rows) for rows in projected]
    cosine = [F.cosine_similarity(predictions[i], projected[1 - i].detach()).mean() for i in (0, 1)]
    both_ways = [F.cosine_similarity(predictions[i], projected[1 - i]).mean() for i in (0, 1)]
    leaves = [*raw, *method.projector.parameters(), *method.predictor.parameters()]
    losses = (method._compute_simsiam_loss(raw), -sum(cosine) / 2, -sum(both_ways) / 2)
    actual, expected, without_stop = (
        torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
        for loss in losses
    )
    assert_close(actual, expected)
    assert max((a - b).abs().max() for a, b in zip(actual, without_stop)) > 1e-3


def test_batches_have_text_variants_only_for_methods_that_use_them():
    for name in ("clip", "declip"):
        config = of_method(name)
        split = open_split(config.data, "train")
        captions = [caption for of_sample in split.captions for caption in of_sample]
        vocabulary = tokenizers.train_bpe(captions, 300)
        batch = TrainingBatches(config, split, vocabulary).build_batch(0)
        assert (batch.augmented_tokens is None) is (batch.masked_tokens is None) is (name == "clip")
    assert batch.masked_tokens.shape == batch.tokens.shape == batch.mlm_labels.shape
    assert len(batch.augmented_tokens) == len(batch.tokens)
    plain = tiny(views={"num_weak": 0, "num_strong": 2})
    same = TrainingBatches(plain, split, vocabulary).build_batch(0)
    assert torch.equal(same.tokens, batch.tokens)
    assert torch.equal(same.images, batch.images)
