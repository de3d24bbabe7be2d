"""CLIP against its definition."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import tiny
from uniclip.losses.image_text import clip_loss


@pytest.mark.parametrize("views", [1, 3])
def test_clip_is_the_mean_over_the_views(vocabulary, views):
    config = tiny(method={"name": "clip"}, views={"num_weak": views, "num_strong": 0})
    method, embedder = build_method_and_embedder(config, vocabulary)
    batch = build_batch(vocabulary, views)
    texts = embedder.encode_text(batch.tokens)
    losses = [
        clip_loss(embedder.encode_image(p, v), texts, 1 / 0.07)
        for p, v in zip(batch.images, batch.augmentation_vectors)
    ]
    loss = method.compute_loss_terms(embedder, batch)["contrastive"]
    torch.testing.assert_close(loss, sum(losses) / views, rtol=1e-5, atol=1e-5)
