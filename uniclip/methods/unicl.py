"""UniCL (Yang et al., CVPR 2022): pictures, texts and labels in one space.

Samples of image-label data whose labels are equal are positives of each other; an image-text pair
is its own only positive. Class names reach the text encoder through prompt templates, one drawn a
sample and epoch: that is the data's part (`data=mix`). The user's own labelled pictures keep the
captions of their CSV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniclip.config import RunConfig, UniclMethod
from uniclip.losses.image_text import unicl_loss
from uniclip.methods.base import SingleTemperatureMethod, embed_views

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.encoders import Vocabulary

HASH_MULTIPLIER = 1_000_003
MIN_CAPTION_LABEL = 2**61
"""Labels made of captions are at least this, and so no class."""


class Unicl(SingleTemperatureMethod):
    """UniCL; with several views, the mean of each view's loss against the one caption (ours).

    That the scale may grow to 100 at most, as CLIP's, is our choice: no bound is published.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.method, UniclMethod)
        super().__init__(config.method.temperature)
        self.equal_captions = config.method.equal_captions
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.method.count_forward_passes(config.views)

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        self.eos = vocabulary.eos

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        labels = batch.labels
        if self.equal_captions:
            labels = torch.where(labels < 0, hash_captions(batch.tokens, self.eos), labels)
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        view_losses = [
            unicl_loss(view, texts, labels, scale, **loss_kwargs) for view in images.unbind(1)
        ]
        return {"contrastive": torch.stack(view_losses).mean()}


def hash_captions(tokens: Tensor, eos: int) -> Tensor:
    """A label for each row of tokens (N, L), (N,) int64: equal up to the end token, equal labels.

    A polynomial of the tokens, modulo 2^64 by overflow: two captions share a label by accident once
    in 2^61 pairs or so.
    """
    hash_code, is_past_eos = (
        torch.zeros_like(tokens[:, 0]),
        torch.zeros_like(tokens[:, 0], dtype=torch.bool),
    )
    for column in tokens.unbind(1):
        hash_code = torch.where(is_past_eos, hash_code, hash_code * HASH_MULTIPLIER + column + 1)
        is_past_eos = is_past_eos | (column == eos)
    return hash_code % MIN_CAPTION_LABEL + MIN_CAPTION_LABEL
