"""What every method is: a batch in, named parts of a loss out, and one place that sums them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from uniclip import distributed
from uniclip.distributed import ProcessGroup

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.encoders import Vocabulary

HeadType = Literal["aware", "linear"]

MAX_IMAGE_TEXT_SCALE = 100.0
MAX_DENSE_EMBEDDINGS = 1024
"""Embeddings up to which all similarities stand in memory at once; beyond, they are streamed."""
TILE_ROWS = 1024
"""Rows of a tile then."""


class Method(nn.Module, ABC):
    """A pre-training method: which head it needs, its loss, and the few numbers that it learns.

    Over several processes a part is this process's share: shares add up to the part of the batch.
    """

    head_type: ClassVar[HeadType]
    """The image head that it needs: "aware" of the augmentation, or a "linear" projection."""
    loss_weights: dict[str, float]
    """The weight of each part in the loss."""
    forward_passes: dict[str, float]
    """Encoder forwards a sample: {"image": V, "text": 1}."""

    @property
    def process_group(self) -> ProcessGroup:
        """Those that share the batch."""
        return distributed.get_process_group()

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        """Build what depends on the embedder's widths; called once, before the first step.

        A method with heads of its own seeds each with `model.embedder.seeded`.
        """

    def compute_loss_terms(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        """The named parts of the loss on `batch`, each ()."""
        batch = self.prepare_batch(batch)
        return self.compute_terms_from_embeddings(self.embed(embedder, batch), batch)

    def prepare_batch(self, batch: Batch) -> Batch:
        """The batch as `embed` is to see it, where a sample's input depends on other samples."""
        return batch

    @abstractmethod
    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        """What the losses need of the samples, by name; floats, and nothing of other samples.

        The first dimension of each goes along samples in order (with several rows of a sample, or
        none), so what is embedded in chunks of the batch can be put together again.
        """

    @abstractmethod
    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """The named parts of the loss, each (), of what `embed` made of the whole batch."""

    def sum_loss_terms(self, loss_terms: dict[str, Tensor]) -> Tensor:
        """The sum of the parts, each times its weight, ()."""
        assert set(loss_terms) == set(self.loss_weights), (set(loss_terms), set(self.loss_weights))
        weighted_terms = torch.stack(
            [self.loss_weights[name] * loss_term for name, loss_term in loss_terms.items()]
        )
        return weighted_terms.sum()

    @abstractmethod
    def clamp(self) -> None:
        """Brings what the method learns back into its range; to be called after each step."""

    @abstractmethod
    def get_learned_scalars(self) -> dict[str, float]:
        """What the method has learnt, by name."""

    @abstractmethod
    def image_text_scale(self) -> float:
        """The multiplier that turns image-text cosines into logits (1/tau)."""

    @abstractmethod
    def similarity_parameters(self) -> list[nn.Parameter]:
        """Parameters that learn at train.similarity_lr_mult times the model's rate, undecayed."""

    def compute_knockout_effects(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """For each component: the loss on `batch` with it switched off in the model as it is,
        minus the loss as it is. Empty for a method without components."""
        return {}

    def choose_chunk(self, num_embeddings: int) -> int | None:
        """The `chunk` of a loss over so many embeddings of this process; all choose alike."""
        return (
            TILE_ROWS
            if sum(self.process_group.all_gather_counts(num_embeddings)) > MAX_DENSE_EMBEDDINGS
            else None
        )

    def loss_kwargs(self, num_embeddings: int) -> dict[str, Any]:
        """The keywords of a loss over so many embeddings of this process."""
        return {"chunk": self.choose_chunk(num_embeddings), "process_group": self.process_group}


def embed_views(embedder: Embedder, batch: Batch) -> Tensor:
    """Unit rows of every view, (N, V, D); all views go through the encoder at once."""
    images = embedder.encode_image(
        batch.images.flatten(0, 1), batch.augmentation_vectors.flatten(0, 1)
    )
    return images.view(*batch.images.shape[:2], -1).transpose(0, 1)


class SingleTemperatureMethod(Method):
    """A method with one learnable image-text scale, as CLIP has it."""

    head_type: ClassVar[HeadType] = "linear"
    min_log_scale: ClassVar[float] = -math.inf
    """Of the logarithm of the scale."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @torch.no_grad()
    def clamp(self) -> None:
        self.log_scale.clamp_(min=self.min_log_scale, max=math.log(MAX_IMAGE_TEXT_SCALE))

    def get_learned_scalars(self) -> dict[str, float]:
        return {"scale": self.image_text_scale()}

    def image_text_scale(self) -> float:
        return self.log_scale.detach().exp().item()

    def similarity_parameters(self) -> list[nn.Parameter]:
        return [self.log_scale]
