"""CLIP (Radford et al., ICML 2021): contrast of images and texts behind linear projections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from uniclip.losses.image_text import clip_loss
from uniclip.methods.base import ImageTextMethod

if TYPE_CHECKING:
    from uniclip.data.batch import Batch


class Clip(ImageTextMethod):
    """CLIP, with the loss term "contrastive".

    With several views the loss is the mean over views, each against the one caption (our choice).
    The scale is at most 100 and may fall below 1, as in CLIP; the repository of SLIP, the source of
    the published CLIP recipe, clamps its logarithm to [0, 4.6052] for CLIP too.
    """

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        contrastive = clip_loss(images, texts, scale, **loss_kwargs)
        return {"contrastive": contrastive}
