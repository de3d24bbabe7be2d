"""UniCLIP (Lee et al., NeurIPS 2022): images and texts in one space; every component switches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from uniclip.config import RunConfig, UniclipMethod
from uniclip.losses.multi_positive import multi_positive
from uniclip.losses.similarity import (
    PAIRS,
    DomainSimilarity,
    Offsets,
    SharedSimilarity,
    Similarity,
    Temperatures,
    image_text_scale,
)
from uniclip.methods.base import Head, Method, of_views

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder

SWITCHES: dict[str, dict[str, Any]] = {
    "mp_nce": {},
    "sup_con": {"denominator": "all"},
    "mil_nce": {"denominator": "all", "aggregate": "inside"},
    "multi_view_info_nce": {"negatives": "slot"},
}
"""The members of the family of losses."""
SIMILARITIES: dict[str, type[DomainSimilarity] | type[SharedSimilarity]] = {
    "domain": DomainSimilarity,
    "shared": SharedSimilarity,
    "temperatures": Temperatures,
    "offsets": Offsets,
}


class Uniclip(Method):
    """All views and the text of a batch in one pool, contrasted by one multi-positive loss."""

    head: ClassVar[Head] = "aware"

    def __init__(self, config: RunConfig) -> None:
        super().__init__()
        assert isinstance(config.method, UniclipMethod)
        self.config = config.method
        self.similarity = SIMILARITIES[self.config.similarity](self.config.temperature)
        self.weights = {"contrastive": 1.0}
        self.forwards = config.method.forwards(config.views)

    def prepare(self, batch: Batch) -> Batch:
        """In the control "shuffled" f_A is fed the vector that the sample before has in the same
        view. (The embedder itself forgets them for "identity".)"""
        if self.config.aware != "shuffled":
            return batch
        vectors = batch.vectors.transpose(0, 1).contiguous()
        before = self.processes.gather(vectors).roll(1, dims=0)
        return replace(batch, vectors=before[self.processes.own(len(vectors))].transpose(0, 1))

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        return {"images": of_views(embedder, batch), "texts": embedder.texts(batch.tokens)}

    def losses(self, embedded: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        return {"contrastive": self._contrast(embedded, batch)}

    @torch.no_grad()
    def engagement(self, embedder: Embedder, batch: Batch) -> dict[str, float]:
        """By component that is on. Off is: for "awareness", all vectors zero; for "mp_nce",
        SupCon; for "domain_similarity", the image-text temperature everywhere, no offsets."""
        batch = self.prepare(batch)
        z = self.embed(embedder, batch)
        off: dict[str, Tensor] = {}
        if self.config.aware == "true":
            untold = replace(batch, vectors=torch.zeros_like(batch.vectors))
            off["awareness"] = self._contrast(self.embed(embedder, untold), batch)
        if self.config.loss == "mp_nce":
            off["mp_nce"] = self._contrast(z, batch, loss="sup_con")
        if self.config.similarity == "domain":
            shared = SharedSimilarity().to(z["texts"].device)
            shared.log_scale.copy_(self.similarity.log_scale[PAIRS.index("it")])
            off["domain_similarity"] = self._contrast(z, batch, similarity=shared)
        as_is = self._contrast(z, batch).item()
        return {name: loss.item() - as_is for name, loss in off.items()}

    def clamp(self) -> None:
        self.similarity.clamp()

    def report(self) -> dict[str, float]:
        return self.similarity.report()

    def image_text_scale(self) -> float:
        return image_text_scale(self.similarity)

    def fast_parameters(self) -> list[nn.Parameter]:
        return list(self.similarity.parameters())

    def _contrast(
        self,
        embedded: dict[str, Tensor],
        batch: Batch,
        *,
        loss: str | None = None,
        similarity: Similarity | None = None,
    ) -> Tensor:
        """The loss over the pool of (V + 1) N embeddings: view by view, then the texts."""
        samples, views, _ = embedded["images"].shape
        z = torch.cat([embedded["images"].transpose(0, 1).flatten(0, 1), embedded["texts"]])
        slot = torch.arange(views + 1, device=z.device).repeat_interleave(samples)
        sample, domain = batch.sample.repeat(views + 1), (slot == views).long()
        switches = {"negatives": self.config.negatives, **SWITCHES[loss or self.config.loss]}
        return multi_positive(
            z,
            sample,
            domain,
            slot,
            similarity or self.similarity,
            weights=self.config.weights,
            **switches,
            **self.how(len(z)),
        )
