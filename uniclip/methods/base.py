"""The interface of a pre-training method: a batch in, named loss terms out, summed in one place."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, TypedDict

import torch
from torch import Tensor, nn

from uniclip import distributed
from uniclip.distributed import ProcessGroup
from uniclip.models.heads import HeadType

if TYPE_CHECKING:
    from uniclip.config import ClipMethod, SiglipMethod, UniclMethod, ViewsConfig
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.vocabulary import Vocabulary

MAX_IMAGE_TEXT_SCALE = 100.0
MAX_DENSE_EMBEDDINGS = 1024
"""Number of embeddings up to which all similarities are held in memory; above, they are
streamed."""
TILE_ROWS = 1024
"""Rows of a tile of streamed similarities."""


class LossKwargs(TypedDict):
    """The keyword arguments that all losses share; see `losses.multi_positive.multi_positive`."""

    chunk: int | None
    process_group: ProcessGroup


class Method(nn.Module, ABC):
    """A pre-training method: its image head, its loss, and the few parameters of its own.

    With several processes a loss term is this process's part: the parts of all processes add up to
    the term of the batch.
    """

    head_type: ClassVar[HeadType]
    """The image head that the method needs; see `models.embedder.build_embedder`."""
    loss_weights: dict[str, float]
    """Weight of each loss term in the loss."""
    forward_passes: dict[str, float]
    """Encoder forward passes per sample, by encoder: {"image": V, "text": 1}."""
    modulation_lr_mult: float = 1.0
    """Learning rate of the image head's modulation, as a multiple of the model's."""

    @property
    def process_group(self) -> ProcessGroup:
        """The processes that share the batch."""
        return distributed.get_process_group()

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        """Build the modules that depend on the embedder's widths; called once, before training.

        A method with heads draws each under `models.embedder.fork_seeded_rng(seed, name)`.
        """

    def compute_loss_terms(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        """Return the loss terms on `batch` by name, each ()."""
        batch = self.prepare_batch(batch)
        return self.compute_terms_from_embeddings(self.embed(embedder, batch), batch)

    def prepare_batch(self, batch: Batch) -> Batch:
        """Return the batch to embed; differs where a sample's input depends on other samples."""
        return batch

    @abstractmethod
    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        """Return the floating-point tensors that the loss terms need, by name.

        Each tensor depends on one sample only, and its first dimension follows the samples in order
        (with several rows per sample, or none), so that tensors of chunks of a batch can be
        concatenated.
        """

    @abstractmethod
    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        """Return the loss terms by name, each (), from what `embed` returned for the whole
        batch."""

    def sum_loss_terms(self, loss_terms: dict[str, Tensor]) -> Tensor:
        """Return the sum of the loss terms times their weights, ()."""
        assert set(loss_terms) == set(self.loss_weights), (set(loss_terms), set(self.loss_weights))
        weighted_terms = torch.stack(
            [self.loss_weights[name] * loss_term for name, loss_term in loss_terms.items()]
        )
        return weighted_terms.sum()

    @abstractmethod
    def clamp(self) -> None:
        """Bring the method's parameters back into their ranges; called after each step."""

    @abstractmethod
    def get_learned_scalars(self) -> dict[str, float]:
        """Return the current values of the method's learned scalars, by name."""

    @abstractmethod
    def image_text_scale(self) -> float:
        """Return the multiplier 1/tau that turns image-text cosines into logits."""

    def image_text_bias(self) -> float:
        """Return the number that is added to scaled image-text cosines; 0 without one."""
        return 0.0

    @abstractmethod
    def similarity_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the similarity.

        They learn at `train.similarity_lr_mult` times the learning rate, without weight decay.
        """

    def compute_knockout_effects(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """Return the knock-out effect of each component, by name; {} if there are no components.

        It is the loss on `batch` with the component switched off in the trained model, minus the
        loss with all components.
        """
        return {}

    def choose_chunk(self, num_embeddings: int) -> int | None:
        """Return the `chunk` of a loss over `num_embeddings` of this process; equal on all."""
        total = sum(self.process_group.count_rows(num_embeddings))
        return TILE_ROWS if total > MAX_DENSE_EMBEDDINGS else None

    def loss_kwargs(self, num_embeddings: int) -> LossKwargs:
        """Return the keyword arguments of a loss over `num_embeddings` of this process."""
        return {"chunk": self.choose_chunk(num_embeddings), "process_group": self.process_group}


def embed_views(embedder: Embedder, batch: Batch) -> Tensor:
    """Return the unit rows of every view, (N, V, D), from one forward pass over all views."""
    images = embedder.encode_image(
        batch.images.flatten(0, 1),
        batch.augmentation_vectors.flatten(0, 1),
        flatten_kept_patches(batch),
    )
    return images.view(*batch.images.shape[:2], -1).transpose(0, 1)


def flatten_kept_patches(batch: Batch) -> Tensor | None:
    """Return the patches that every view keeps, (V * N, K), one view after the other; or None."""
    return None if batch.kept_patches is None else batch.kept_patches.flatten(0, 1)


class SingleTemperatureMethod(Method):
    """A method with linear projections and one learned image-text scale, as in CLIP.

    Args:
        temperature: the initial temperature tau.
    """

    head_type: ClassVar[HeadType] = "linear"
    min_log_scale: ClassVar[float] = -math.inf
    """Lower bound of log(1/tau)."""
    max_log_scale: ClassVar[float] = math.log(MAX_IMAGE_TEXT_SCALE)
    """Upper bound of log(1/tau)."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        """log(1/tau), ()."""

    @torch.no_grad()
    def clamp(self) -> None:
        self.log_scale.clamp_(min=self.min_log_scale, max=self.max_log_scale)

    def get_learned_scalars(self) -> dict[str, float]:
        return {"logit_scale": self.image_text_scale()}

    def image_text_scale(self) -> float:
        return self.log_scale.detach().exp().item()

    def similarity_parameters(self) -> list[nn.Parameter]:
        return [self.log_scale]


class ImageTextMethod(SingleTemperatureMethod):
    """A method of one loss term, "contrastive", between the views of an image and its caption.

    Args:
        config: the section `method` of the run's configuration.
        views: the views of a sample.
    """

    def __init__(self, config: ClipMethod | SiglipMethod | UniclMethod, views: ViewsConfig) -> None:
        super().__init__(config.temperature)
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.count_forward_passes(views)

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}
