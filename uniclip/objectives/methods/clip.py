"""CLIP (Radford et al., ICML 2021): image-text contrast alone, with a linear projection each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from uniclip.config import ClipMethod, RunConfig
from uniclip.objectives.methods.base import Head, Method, log_scale
from uniclip.objectives.pairs import clip_loss

if TYPE_CHECKING:
    from uniclip.batch import Batch
    from uniclip.model.embedder import Embedder

LARGEST_SCALE = 100.0


class Clip(Method):
    """CLIP; with several views, the mean of each view's loss against the one caption (ours)."""

    head: ClassVar[Head] = "linear"

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        assert isinstance(config.method, ClipMethod)
        self.log_scale = log_scale(config.method.temperature)
        self.weights = {"contrastive": 1.0}
        self.forwards = {"image": float(config.views.weak + config.views.strong), "text": 1.0}

    def parts(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        images = embedder.images(batch.pixels.flatten(0, 1), batch.vectors.flatten(0, 1))
        texts = embedder.texts(batch.tokens)
        scale = self.log_scale.exp()
        views = images.view(*batch.pixels.shape[:2], -1)
        losses = [clip_loss(view, texts, scale) for view in views]
        return {"contrastive": torch.stack(losses).mean()}

    @torch.no_grad()
    def clamp(self) -> None:
        self.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def report(self) -> dict[str, float]:
        return {"scale": self.image_text_scale()}

    def image_text_scale(self) -> float:
        return self.log_scale.detach().exp().item()

    def fast_parameters(self) -> list[nn.Parameter]:
        return [self.log_scale]
