"""UniCLIP (Lee et al., NeurIPS 2022): images and texts in one space, all contrasted at once.

Each of its three components (augmentation awareness, MP-NCE, domain-dependent similarity) can be
switched off or replaced.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from uniclip.config import UniclipMethod, ViewsConfig
from uniclip.losses.multi_positive import compute_named_loss
from uniclip.losses.similarity import (
    DOMAIN_PAIRS,
    DomainOffsetSimilarity,
    DomainSimilarity,
    DomainTemperatureSimilarity,
    SharedSimilarity,
    Similarity,
    get_image_text_scale,
)
from uniclip.methods.base import Method, embed_views
from uniclip.models.heads import HeadType

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder

SIMILARITIES: dict[str, type[DomainSimilarity] | type[SharedSimilarity]] = {
    "domain": DomainSimilarity,
    "shared": SharedSimilarity,
    "temperatures": DomainTemperatureSimilarity,
    "offsets": DomainOffsetSimilarity,
}
"""By the value of `method.similarity`."""


class Uniclip(Method):
    """One multi-positive loss over all views and texts of a batch; loss term "contrastive"."""

    head_type: ClassVar[HeadType] = "augmentation_aware"

    def __init__(self, config: UniclipMethod, views: ViewsConfig) -> None:
        super().__init__()
        self.config = config
        self.similarity = SIMILARITIES[self.config.similarity](self.config.temperature)
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.count_forward_passes(views)
        self.modulation_lr_mult = config.modulation_lr_mult

    def prepare_batch(self, batch: Batch) -> Batch:
        """Return the batch; with augmentation_input="shuffled", with vectors of other samples.

        Each sample then has the vector that the sample before it has in the same view. (For
        "identity" the embedder sets the vectors to zero.)
        """
        if self.config.augmentation_input != "shuffled":
            return batch
        vectors = batch.augmentation_vectors.transpose(0, 1).contiguous()
        rows, (all_vectors,) = self.process_group.all_gather_samples(vectors)
        local_vectors = all_vectors.roll(1, dims=0)[rows]
        return replace(batch, augmentation_vectors=local_vectors.transpose(0, 1))

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        return {"contrastive": self._compute_contrastive_loss(embeddings, batch)}

    @torch.no_grad()
    def compute_knockout_effects(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """Return the knock-out effect of each component that is on.

        A component is switched off so: "awareness" by zero vectors, "mp_nce" by SupCon, and
        "domain_similarity" by the image-text temperature for all domain pairs, without offsets.
        """
        batch = self.prepare_batch(batch)
        embeddings = self.embed(embedder, batch)
        knockout_losses: dict[str, Tensor] = {}
        if self.config.augmentation_input == "true":
            masked_batch = replace(
                batch, augmentation_vectors=torch.zeros_like(batch.augmentation_vectors)
            )
            knockout_losses["awareness"] = self._compute_contrastive_loss(
                self.embed(embedder, masked_batch), batch
            )
        if self.config.loss == "mp_nce":
            knockout_losses["mp_nce"] = self._compute_contrastive_loss(
                embeddings, batch, loss="sup_con"
            )
        if self.config.similarity == "domain":
            shared_similarity = SharedSimilarity().to(embeddings["texts"].device)
            shared_similarity.log_scale.copy_(self.similarity.log_scale[DOMAIN_PAIRS.index("it")])
            knockout_losses["domain_similarity"] = self._compute_contrastive_loss(
                embeddings, batch, similarity=shared_similarity
            )
        baseline_loss = self._compute_contrastive_loss(embeddings, batch).item()
        return {name: loss.item() - baseline_loss for name, loss in knockout_losses.items()}

    def clamp(self) -> None:
        self.similarity.clamp()

    def get_learned_scalars(self) -> dict[str, float]:
        return self.similarity.get_learned_scalars()

    def image_text_scale(self) -> float:
        return get_image_text_scale(self.similarity)

    def similarity_parameters(self) -> list[nn.Parameter]:
        return list(self.similarity.parameters())

    def _compute_contrastive_loss(
        self,
        embeddings: dict[str, Tensor],
        batch: Batch,
        *,
        loss: str | None = None,
        similarity: Similarity | None = None,
    ) -> Tensor:
        """Return the loss over the (V + 1) N embeddings of a batch, ().

        Args:
            embeddings: "images" (N, V, D) and "texts" (N, D).
            batch: the sample ids, on the CPU.
            loss, similarity: replace those of the configuration.
        """
        num_samples, num_views, _ = embeddings["images"].shape
        z = torch.cat([embeddings["images"].transpose(0, 1).flatten(0, 1), embeddings["texts"]])
        slot = torch.arange(num_views + 1).repeat_interleave(num_samples)
        sample, domain = batch.sample_ids.repeat(num_views + 1), (slot == num_views).long()
        return compute_named_loss(
            loss or self.config.loss,
            z,
            sample,
            domain,
            slot,
            similarity or self.similarity,
            negatives=self.config.negatives,
            weights=self.config.positive_weights,
            **self.loss_kwargs(len(z)),
        )
