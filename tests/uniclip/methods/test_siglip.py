"""SigLIP against its definition; its bias is learned and shown."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.small_models import build_batch, build_method_and_embedder
from tests.helpers.small_runs import of_method
from uniclip.losses.sigmoid import siglip_loss
from uniclip.training import trainer


@pytest.mark.parametrize("views", [1, 3])
def test_siglip_is_the_mean_over_the_views(vocabulary, views):
    config = of_method("siglip", views={"num_weak": views, "num_strong": 0})
    method, embedder = build_method_and_embedder(config, vocabulary)
    batch = build_batch(vocabulary, views)
    texts = embedder.encode_text(batch.tokens)
    losses = [
        siglip_loss(embedder.encode_image(p, v), texts, 10.0, -10.0)
        for p, v in zip(batch.images, batch.augmentation_vectors)
    ]
    loss = method.compute_loss_terms(embedder, batch)["contrastive"]
    torch.testing.assert_close(loss, sum(losses) / views, rtol=1e-5, atol=1e-5)


def test_scale_and_bias_are_learned_and_shown():
    result = trainer.train_model(of_method("siglip"))
    (first, *_, last) = [r for r in result.history if r["phase"] == "train"]
    for name, initial in (("logit_scale", 10.0), ("logit_bias", -10.0)):
        assert 0 < abs(first[name] - initial) < 0.2
        assert last[name] != first[name]
    assert last["loss"] < first["loss"]
    assert result.pretrained.image_text_bias() == last["logit_bias"]
    warm = of_method("siglip", method={"bias": -3.0, "temperature": 0.5})
    state = trainer.setup_training(warm)[1]
    assert state.method.get_learned_scalars() == {"logit_scale": 2.0, "logit_bias": -3.0}
