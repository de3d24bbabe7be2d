"""SLIP (Mu et al., ECCV 2022): CLIP on a weak view, and SimCLR between two strong views.

The two losses use separate spaces: CLIP's behind linear projections, SimCLR's (Chen et al., ICML
2020) behind a three-layer head with batch norm on the image encoder's features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniclip import distributed
from uniclip.config import SlipMethod, ViewsConfig
from uniclip.losses.image_text import clip_loss
from uniclip.losses.multi_positive import mp_nce
from uniclip.losses.similarity import FixedSimilarity
from uniclip.methods.base import SingleTemperatureMethod, flatten_kept_patches
from uniclip.models.batch_norm import BatchNorm
from uniclip.models.embedder import fork_seeded_rng

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.vocabulary import Vocabulary


class Slip(SingleTemperatureMethod):
    """SLIP, with the loss terms "contrastive" (CLIP's) and "simclr"."""

    min_log_scale: ClassVar[float] = 0.0
    ssl_head: nn.Sequential

    def __init__(self, config: SlipMethod, views: ViewsConfig) -> None:
        super().__init__(config.temperature)
        self.config = config
        self.loss_weights = {"contrastive": 1.0, "simclr": self.config.ssl_weight}
        self.forward_passes = config.count_forward_passes(views)
        self.similarity = FixedSimilarity(self.config.ssl_temperature)

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        num_features, width = embedder.image_encoder.num_features, self.config.ssl_mlp_dim
        with fork_seeded_rng(seed, "ssl_head"):
            self.ssl_head = nn.Sequential(
                nn.Linear(num_features, width),
                BatchNorm(width),
                nn.ReLU(),
                nn.Linear(width, width),
                BatchNorm(width),
                nn.ReLU(),
                nn.Linear(width, self.config.ssl_embed_dim),
            )

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        num_views, num_samples = batch.images.shape[:2]
        features = embedder.compute_image_features(
            batch.images.flatten(0, 1), flatten_kept_patches(batch)
        ).view(num_views, num_samples, -1)
        return {
            "weak": embedder.project_image(features[0], batch.augmentation_vectors[0]),
            "strong": features[1:].transpose(0, 1),
            "texts": embedder.encode_text(batch.tokens),
        }

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        weak, features, texts = (embeddings[name] for name in ("weak", "strong", "texts"))
        loss_kwargs = self.loss_kwargs(2 * len(features))
        loss_kwargs["process_group"] = distributed.get_process_group(self.config.gather_with_grad)
        # As published, the head is applied to one view at a time: its batch norms use the
        # statistics of that view.
        projections = [self.ssl_head(view) for view in features.unbind(1)]
        strong = F.normalize(torch.cat(projections).float(), dim=-1)
        sample = batch.sample_ids.repeat(len(projections))
        # NT-Xent: an anchor has one positive, its other view; all other rows are negatives.
        simclr = mp_nce(
            strong,
            sample,
            torch.zeros_like(sample),
            self.similarity,
            chunk=self.choose_chunk(len(strong)),
            process_group=self.process_group,
        )
        contrastive = clip_loss(weak, texts, self.log_scale.exp(), **loss_kwargs)
        return {"contrastive": contrastive, "simclr": simclr}
