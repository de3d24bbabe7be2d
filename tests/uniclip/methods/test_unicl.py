"""UniCL against its definition: equal labels, and equal captions, are positives."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import of_method
from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.methods.unicl import hash_captions


def assert_close(loss_terms, expected):
    torch.testing.assert_close(loss_terms, expected, rtol=1e-5, atol=1e-5)


def test_equal_labels_are_positives(vocabulary):
    method, embedder = build_method_and_embedder(of_method("unicl"), vocabulary)
    batch = build_batch(vocabulary, 1)
    labels = torch.tensor([3, -1, 3, 0, -1, 0])
    object.__setattr__(batch, "labels", labels)
    image = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    expected = unicl_loss(image, embedder.encode_text(batch.tokens), labels, torch.e)
    assert_close(method.compute_loss_terms(embedder, batch)["contrastive"], expected)
    alone = clip_loss(image, embedder.encode_text(batch.tokens), torch.e)
    assert (expected - alone).abs() > 1e-3


def test_equal_captions_have_equal_labels_for_any_padding(vocabulary):
    captions = ["a red heart", "two cats", "a red heart", "two", "red a heart"]
    labels = hash_captions(torch.from_numpy(vocabulary.encode(captions, 16)), vocabulary.eos)
    assert labels[0] == labels[2]
    assert len(set(labels.tolist())) == 4
    assert (labels >= 2**61).all()
    again = hash_captions(torch.from_numpy(vocabulary.encode(captions[:1], 16)), vocabulary.eos)
    assert again[0] == labels[0]


CAPTION_LABELS = {True: [7, 5, 8, 7, 5, 5], False: [-1, 5, -1, -1, 5, 5]}
"""By equal_captions, where samples i and i + 3 have one caption and 1, 4 and 5 a label."""


def build_captioned(vocabulary, equal_captions):
    method, embedder = build_method_and_embedder(
        of_method("unicl", method={"equal_captions": equal_captions}), vocabulary
    )
    batch = build_batch(vocabulary, 1)
    object.__setattr__(batch, "labels", torch.tensor(CAPTION_LABELS[False]))
    return method, embedder, batch


def test_equal_captions_are_positives_if_configured(vocabulary):
    generator = torch.Generator().manual_seed(0)
    image, text = F.normalize(torch.randn(2, 6, 8, generator=generator), dim=-1)
    losses = {}
    for equal_captions, labels in CAPTION_LABELS.items():
        method, _, batch = build_captioned(vocabulary, equal_captions)
        expected = unicl_loss(image, text, torch.tensor(labels), torch.e)
        loss_terms = method.compute_terms_from_embeddings(
            {"images": image[:, None], "texts": text}, batch
        )
        losses[equal_captions] = loss_terms["contrastive"]
        torch.testing.assert_close(losses[equal_captions], expected, rtol=1e-5, atol=1e-5)
    assert (losses[True] - losses[False]).abs() > 1e-4


def test_equal_captions_with_equal_embeddings_have_the_gradient_of_pairs(vocabulary):
    results = []
    for equal_captions in CAPTION_LABELS:
        method, embedder, batch = build_captioned(vocabulary, equal_captions)
        loss = method.sum_loss_terms(method.compute_loss_terms(embedder, batch))
        gradients = torch.autograd.grad(loss, list(embedder.parameters()), materialize_grads=True)
        results.append([loss.detach(), *gradients])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
