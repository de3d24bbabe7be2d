"""UniCLIP (Lee et al., NeurIPS 2022): images and texts in one space; every component switches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from uniclip.config import RunConfig, UniclipMethod
from uniclip.losses.multi_positive import multi_positive
from uniclip.losses.similarity import (
    DOMAIN_PAIRS,
    DomainOffsetSimilarity,
    DomainSimilarity,
    DomainTemperatureSimilarity,
    SharedSimilarity,
    Similarity,
    get_image_text_scale,
)
from uniclip.methods.base import HeadType, Method, embed_views

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder

LOSS_SWITCHES: dict[str, dict[str, Any]] = {
    "mp_nce": {},
    "sup_con": {"denominator": "all"},
    "mil_nce": {"denominator": "all", "aggregate": "inside"},
    "multi_view_info_nce": {"negatives": "slot"},
}
"""The members of the family of losses."""
SIMILARITIES: dict[str, type[DomainSimilarity] | type[SharedSimilarity]] = {
    "domain": DomainSimilarity,
    "shared": SharedSimilarity,
    "temperatures": DomainTemperatureSimilarity,
    "offsets": DomainOffsetSimilarity,
}


class Uniclip(Method):
    """All views and the text of a batch in one pool, contrasted by one multi-positive loss."""

    head_type: ClassVar[HeadType] = "aware"

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        assert isinstance(config.method, UniclipMethod)
        self.config = config.method
        self.similarity = SIMILARITIES[self.config.similarity](self.config.temperature)
        self.loss_weights = {"contrastive": 1.0}
        self.forward_passes = config.method.count_forward_passes(config.views)

    def prepare_batch(self, batch: Batch) -> Batch:
        """In the control "shuffled" f_A is fed the vector that the sample before has in the same
        view. (The embedder itself forgets them for "identity".)"""
        if self.config.augmentation_input != "shuffled":
            return batch
        vectors = batch.augmentation_vectors.transpose(0, 1).contiguous()
        shifted_vectors = self.process_group.all_gather(vectors).roll(1, dims=0)
        return replace(
            batch,
            augmentation_vectors=shifted_vectors[
                self.process_group.local_slice(len(vectors))
            ].transpose(0, 1),
        )

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": embed_views(embedder, batch), "texts": embedder.encode_text(batch.tokens)}

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        return {"contrastive": self._compute_contrastive_loss(embeddings, batch)}

    @torch.no_grad()
    def compute_knockout_effects(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """By component that is on. Off is: for "awareness", all vectors zero; for "mp_nce",
        SupCon; for "domain_similarity", the image-text temperature everywhere, no offsets."""
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
        """The loss over the pool of (V + 1) N embeddings: view by view, then the texts."""
        num_samples, num_views, _ = embeddings["images"].shape
        z = torch.cat([embeddings["images"].transpose(0, 1).flatten(0, 1), embeddings["texts"]])
        slot = torch.arange(num_views + 1, device=z.device).repeat_interleave(num_samples)
        sample, domain = batch.sample_ids.repeat(num_views + 1), (slot == num_views).long()
        switches = {"negatives": self.config.negatives, **LOSS_SWITCHES[loss or self.config.loss]}
        return multi_positive(
            z,
            sample,
            domain,
            slot,
            similarity or self.similarity,
            weights=self.config.positive_weights,
            **switches,
            **self.loss_kwargs(len(z)),
        )
