"""CLIP (Radford et al., ICML 2021): image-text contrast alone, with a linear projection each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from uniclip.config import ClipMethod, RunConfig
from uniclip.objectives.methods.base import Scaled
from uniclip.objectives.pairs import clip_loss

if TYPE_CHECKING:
    from uniclip.batch import Batch
    from uniclip.model.embedder import Embedder


class Clip(Scaled):
    """CLIP; with several views, the mean of each view's loss against the one caption (ours)."""

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.method, ClipMethod)
        super().__init__(config.method.temperature)
        self.weights = {"contrastive": 1.0}
        self.forwards = config.method.forwards(config.views)

    def parts(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        images = embedder.images(batch.pixels.flatten(0, 1), batch.vectors.flatten(0, 1))
        texts = embedder.texts(batch.tokens)
        scale, how = self.log_scale.exp(), self.how(2 * len(texts))
        views = images.view(*batch.pixels.shape[:2], -1)
        losses = [clip_loss(view, texts, scale, **how) for view in views]
        return {"contrastive": torch.stack(losses).mean()}
