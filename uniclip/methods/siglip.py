"""SigLIP (Zhai et al., ICCV 2023): a sigmoid of each image-text pair in place of a softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from uniclip.config import SiglipMethod, ViewsConfig
from uniclip.losses.sigmoid import siglip_loss
from uniclip.methods.base import ImageTextMethod

if TYPE_CHECKING:
    from uniclip.data.batch import Batch


class Siglip(ImageTextMethod):
    """SigLIP, with the loss term "contrastive".

    With several views the loss is the mean over views, each against the one caption (our choice).
    Scale and bias are learned and have no bounds, as published.
    """

    max_log_scale: ClassVar[float] = math.inf

    def __init__(self, config: SiglipMethod, views: ViewsConfig) -> None:
        super().__init__(config, views)
        self.bias = nn.Parameter(torch.tensor(config.bias))
        """Added to the scaled cosines, ()."""

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        images, texts = embeddings["images"], embeddings["texts"]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts))
        view_losses = [
            siglip_loss(view, texts, scale, self.bias, **loss_kwargs) for view in images.unbind(1)
        ]
        return {"contrastive": torch.stack(view_losses).mean()}

    def get_learned_scalars(self) -> dict[str, float]:
        return {**super().get_learned_scalars(), "logit_bias": self.image_text_bias()}

    def image_text_bias(self) -> float:
        return self.bias.item()

    def similarity_parameters(self) -> list[nn.Parameter]:
        return [self.log_scale, self.bias]
