"""UniCL (Yang et al., CVPR 2022): images, texts and labels in one space.

Samples of image-label data with the same label are positives of each other; an image-text pair is
its only positive. Class names are made into captions by prompt templates, one drawn per sample and
epoch, in the data source (`data=mix`). Labelled images of a user's CSV keep the captions of the
CSV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniclip.config import UniclMethod, ViewsConfig
from uniclip.losses.image_text import unicl_loss
from uniclip.methods.base import ImageTextMethod

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.vocabulary import Vocabulary

HASH_MULTIPLIER = 1_000_003
MIN_CAPTION_LABEL = 2**61
"""Labels made from captions are at least this: they never equal a class label."""


class Unicl(ImageTextMethod):
    """UniCL, with the loss term "contrastive".

    With several views the loss is the mean over views, each against the one caption (our choice).
    The scale is at most 100, as in CLIP (our choice: no bound is published).
    """

    def __init__(self, config: UniclMethod, views: ViewsConfig) -> None:
        super().__init__(config, views)
        self.equal_captions = config.equal_captions

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        self.eos = vocabulary.eos

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        labels = batch.labels
        if self.equal_captions:
            labels = torch.where(labels < 0, hash_captions(batch.tokens, self.eos), labels)
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        contrastive = unicl_loss(images, texts, labels, scale, **loss_kwargs)
        return {"contrastive": contrastive}


def hash_captions(tokens: Tensor, eos: int) -> Tensor:
    """Return a label for each caption, (N,) int64; captions equal up to the end token share it.

    The label is a polynomial of the tokens modulo 2^64 (by overflow): about one in 2^61 pairs of
    different captions shares a label.

    Args:
        tokens: (N, L) int64.
        eos: the id of the end token.
    """
    hash_code = torch.zeros_like(tokens[:, 0])
    is_past_eos = torch.zeros_like(tokens[:, 0], dtype=torch.bool)
    for column in tokens.unbind(1):
        hash_code = torch.where(is_past_eos, hash_code, hash_code * HASH_MULTIPLIER + column + 1)
        is_past_eos = is_past_eos | (column == eos)
    return hash_code % MIN_CAPTION_LABEL + MIN_CAPTION_LABEL
