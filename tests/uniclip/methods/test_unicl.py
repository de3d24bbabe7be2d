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


def close(given, expected):
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


def test_unicl_makes_equal_labels_positives(vocabulary):
    method, embedder = build_method_and_embedder(of_method("unicl"), vocabulary)
    batch = build_batch(vocabulary, 1)
    labels = torch.tensor([3, -1, 3, 0, -1, 0])
    object.__setattr__(batch, "labels", labels)
    image = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    expected = unicl_loss(image, embedder.encode_text(batch.tokens), labels, torch.e)
    close(method.compute_loss_terms(embedder, batch)["contrastive"], expected)
    alone = clip_loss(image, embedder.encode_text(batch.tokens), torch.e)
    assert (expected - alone).abs() > 1e-3


def test_equal_captions_get_equal_labels_whatever_the_padding(vocabulary):
    words = ["a red heart", "two cats", "a red heart", "two", "red a heart"]
    labels = hash_captions(torch.from_numpy(vocabulary.encode(words, 16)), vocabulary.eos)
    assert labels[0] == labels[2]
    assert len(set(labels.tolist())) == 4
    assert (labels >= 2**61).all()
    again = hash_captions(torch.from_numpy(vocabulary.encode(words[:1], 16)), vocabulary.eos)
    assert again[0] == labels[0]


CAPTION_LABELS = {True: [7, 5, 8, 7, 5, 5], False: [-1, 5, -1, -1, 5, 5]}
"""By equal_captions, where samples i and i + 3 have one caption and 1, 4 and 5 a label."""


def captioned(vocabulary, asked):
    method, embedder = build_method_and_embedder(
        of_method("unicl", method={"equal_captions": asked}), vocabulary
    )
    batch = build_batch(vocabulary, 1)
    object.__setattr__(batch, "labels", torch.tensor(CAPTION_LABELS[False]))
    return method, embedder, batch


def test_unicl_makes_equal_captions_positives_where_it_is_asked_to(vocabulary):
    generator = torch.Generator().manual_seed(0)
    image, text = F.normalize(torch.randn(2, 6, 8, generator=generator), dim=-1)
    losses = {}
    for asked, labels in CAPTION_LABELS.items():
        method, _, batch = captioned(vocabulary, asked)
        expected = unicl_loss(image, text, torch.tensor(labels), torch.e)
        given = method.compute_terms_from_embeddings(
            {"images": image[:, None], "texts": text}, batch
        )
        losses[asked] = given["contrastive"]
        torch.testing.assert_close(losses[asked], expected, rtol=1e-5, atol=1e-5)
    assert (losses[True] - losses[False]).abs() > 1e-4


def test_equal_captions_that_are_embedded_alike_pull_as_pairs_do(vocabulary):
    found = []
    for asked in CAPTION_LABELS:
        method, embedder, batch = captioned(vocabulary, asked)
        loss = method.sum_loss_terms(method.compute_loss_terms(embedder, batch))
        pulls = torch.autograd.grad(loss, list(embedder.parameters()), materialize_grads=True)
        found.append([loss.detach(), *pulls])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
