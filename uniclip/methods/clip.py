"""CLIP (Radford et al., ICML 2021): contrast of images and texts behind linear projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from uniclip.config import ClipMethod, ViewsConfig
from uniclip.losses.image_text import clip_loss
from uniclip.methods.base import SingleTemperatureMethod, embed_views

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder


class Clip(SingleTemperatureMethod):
    """CLIP, with the loss term "contrastive".

    With several views the loss is the mean over views, each against the one caption (our choice).
    The scale is at most 100 and may fall below 1, as in CLIP; the repository of SLIP, the source of
    the published CLIP recipe, clamps its logarithm to [0, 4.6052] for CLIP too.
    """

    def __init__(self, config: ClipMethod, views: ViewsConfig) -> None:
        super().__init__(config.temperature)
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.count_forward_passes(views)

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        contrastive = clip_loss(images, texts, scale, **loss_kwargs)
        return {"contrastive": contrastive}
