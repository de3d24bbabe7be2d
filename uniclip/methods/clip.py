"""CLIP (Radford et al., ICML 2021): image-text contrast alone, with a linear projection each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniclip.config import ClipMethod, RunConfig
from uniclip.losses.image_text import clip_loss
from uniclip.methods.base import SingleTemperatureMethod, embed_views

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder


class Clip(SingleTemperatureMethod):
    """CLIP; with several views, the mean of each view's loss against the one caption (ours).

    The scale is at most 100 and may fall below 1, as in CLIP; SLIP's repository, from which the
    published recipe of CLIP is, keeps its logarithm within [0, 4.6052] for CLIP too.
    """

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.method, ClipMethod)
        super().__init__(config.method.temperature)
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.method.count_forward_passes(config.views)

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        view_losses = [clip_loss(view, texts, scale, **loss_kwargs) for view in images.unbind(1)]
        return {"contrastive": torch.stack(view_losses).mean()}
