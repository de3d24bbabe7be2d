"""What every method is: a batch in, named parts of a loss out, and one place that sums them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from uniclip.batch import Batch
    from uniclip.model.embedder import Embedder

Head = Literal["aware", "linear"]


class Method(nn.Module, ABC):
    """A pre-training method: which head it needs, its loss, and the few numbers that it learns."""

    head: ClassVar[Head]
    """The image head that it needs: "aware" of the augmentation, or a "linear" projection."""
    weights: dict[str, float]
    """The weight of each part in the loss."""
    forwards: dict[str, float]
    """Encoder forwards a sample: {"image": V, "text": 1}."""

    @abstractmethod
    def parts(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        """The named parts of the loss on `batch`, each ()."""

    def loss(self, parts: dict[str, Tensor]) -> Tensor:
        """The sum of the parts, each times its weight, ()."""
        assert set(parts) == set(self.weights), (set(parts), set(self.weights))
        total = torch.stack([self.weights[name] * part for name, part in parts.items()])
        return total.sum()

    @abstractmethod
    def clamp(self) -> None:
        """Brings what the method learns back into its range; to be called after each step."""

    @abstractmethod
    def report(self) -> dict[str, float]:
        """What the method has learnt, by name."""

    @abstractmethod
    def image_text_scale(self) -> float:
        """The multiplier that turns image-text cosines into logits (1/tau)."""

    @abstractmethod
    def fast_parameters(self) -> list[nn.Parameter]:
        """Parameters that learn at train.similarity_rate times the model's rate, undecayed."""

    def engagement(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """For each component: the loss on `batch` with it switched off in the model as it is,
        minus the loss as it is. Empty for a method without components."""
        return {}


def log_scale(temperature: float) -> nn.Parameter:
    """A learnable -log tau, ()."""
    return nn.Parameter(torch.tensor(-math.log(temperature)))
