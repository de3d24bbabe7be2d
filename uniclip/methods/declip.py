"""DeCLIP (Li et al., ICLR 2022): four signals from one batch.

CLIP between two views and two captions (one as it is, one edited); the same towards the nearest
neighbours of the captions among past ones; SimSiam (Chen and He, CVPR 2021) between the views; and
a masked language model. As published, the caption "as it is" is the masked one, whose pass serves
both losses; the text tower stays causal, so that hidden words are guessed from what precedes them;
and the queue starts with random rows. Ours: the padding token stands for what is hidden; the text
projection has no bias, as in every method here (the published one has); and a queue with less room
than a batch has texts takes as many captions as edited ones (the published one keeps the last rows,
which are all edited).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniclip.config import DeclipMethod, RunConfig
from uniclip.losses.image_text import clip_loss, image_to_text_loss
from uniclip.methods.base import SingleTemperatureMethod
from uniclip.models.batch_norm import BatchNorm
from uniclip.models.embedder import fork_seeded_rng

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.encoders import Vocabulary

LOSS_TERMS = ("contrastive", "neighbour", "simsiam", "language")
NEIGHBOUR_CHUNK_ROWS = 256
"""Of texts whose neighbours are looked up at once: 67 MB of similarities to the published queue."""


class Declip(SingleTemperatureMethod):
    """DeCLIP: parts "contrastive", "neighbour", "simsiam" and "language"."""

    min_log_scale: ClassVar[float] = 3.0
    queue: Tensor
    queue_position: Tensor

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.method, DeclipMethod)
        super().__init__(config.method.temperature)
        self.config = config.method
        self.loss_weights = dict(zip(LOSS_TERMS, self.config.loss_weights))
        self.forward_passes = config.method.count_forward_passes(config.views)
        self.clamp()

    def build_heads(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        embed_dim = embedder.text_head.out_features
        with fork_seeded_rng(seed, "projector"):
            self.projector = _build_projector(embed_dim, self.config.ssl_mlp_dim)
        with fork_seeded_rng(seed, "predictor"):
            self.predictor = _build_predictor(self.config.ssl_mlp_dim)
        with fork_seeded_rng(seed, "language_head"):
            self.language_head = nn.Linear(
                embedder.text_encoder.num_features, vocabulary.vocab_size
            )
        with fork_seeded_rng(seed, "queue"):
            rows = F.normalize(torch.randn(self.config.queue_size, embed_dim), dim=-1)
        self.register_buffer("queue", rows.half())
        self.register_buffer("queue_position", torch.zeros((), dtype=torch.int64))

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        assert batch.augmented_tokens is not None
        assert batch.masked_tokens is not None
        assert batch.mlm_labels is not None
        raw_embeddings = [
            embedder.apply_image_head(embedder.compute_image_features(pixels), vectors)
            for pixels, vectors in zip(batch.images, batch.augmentation_vectors)
        ]
        hidden_states = embedder.compute_text_hidden_states(batch.masked_tokens)
        return {
            "views": torch.stack(raw_embeddings).transpose(0, 1),
            "masked": embedder.project_text(hidden_states, batch.masked_tokens),
            "edited": embedder.encode_text(batch.augmented_tokens),
            "hidden": hidden_states[batch.mlm_labels >= 0],
        }

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        assert batch.mlm_labels is not None
        raw_embeddings = list(embeddings["views"].unbind(1))
        views = [F.normalize(rows.float(), dim=-1) for rows in raw_embeddings]
        texts = [embeddings["masked"], embeddings["edited"]]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts[0]))
        contrastive_losses = [
            clip_loss(view, text, scale, **loss_kwargs) for view in views for text in texts
        ]
        neighbour_texts = [self._find_neighbours(text) for text in texts]
        neighbour_losses = [
            image_to_text_loss(view, neighbour_text, scale, **loss_kwargs)
            for view in views
            for neighbour_text in neighbour_texts
        ]
        if self.training:
            self._enqueue(texts)
        return {
            "contrastive": torch.stack(contrastive_losses).mean(),
            "neighbour": torch.stack(neighbour_losses).mean(),
            "simsiam": self._compute_simsiam_loss(raw_embeddings),
            "language": self._compute_language_loss(embeddings["hidden"], batch.mlm_labels),
        }

    def _compute_simsiam_loss(self, raw_embeddings: list[Tensor]) -> Tensor:
        """Minus the cosine of each view's prediction with the other's projection, averaged."""
        projections = [self.projector(rows) for rows in raw_embeddings]
        predictions = [self.predictor(rows) for rows in projections]
        first_cosine = F.cosine_similarity(predictions[0].float(), projections[1].detach().float())
        second_cosine = F.cosine_similarity(predictions[1].float(), projections[0].detach().float())
        return self.process_group.mean_contribution(-(first_cosine + second_cosine) / 2)

    def _compute_language_loss(self, hidden_states: Tensor, mlm_labels: Tensor) -> Tensor:
        """Cross-entropy of the hidden tokens, whose states are (H, F); 0 if none is hidden."""
        logits = self.language_head(hidden_states).float()
        token_losses = F.cross_entropy(logits, mlm_labels[mlm_labels >= 0], reduction="none")
        return (
            self.process_group.mean_contribution(token_losses) + 0 * self.language_head.weight.sum()
        )

    @torch.no_grad()
    def _find_neighbours(self, texts: Tensor) -> Tensor:
        """For each row (N, D) the nearest one of the queue, (N, D)."""
        queue = self.queue.to(texts.dtype)
        nearest_index = torch.cat(
            [(rows @ queue.T).argmax(1) for rows in texts.split(NEIGHBOUR_CHUNK_ROWS)]
        )
        return F.normalize(queue[nearest_index], dim=-1)

    @torch.no_grad()
    def _enqueue(self, texts: list[Tensor]) -> None:
        """Put the rows of all processes in place of the oldest, those of the caption first."""
        queue_size = len(self.queue)
        max_rows = (queue_size - queue_size // 2, queue_size // 2)
        rows = torch.cat(
            [
                self.process_group.all_gather(text.detach())[:num_rows]
                for text, num_rows in zip(texts, max_rows)
            ]
        )
        positions = (self.queue_position + torch.arange(len(rows), device=rows.device)) % len(
            self.queue
        )
        self.queue[positions] = rows.half()
        self.queue_position.copy_((self.queue_position + len(rows)) % len(self.queue))


def _build_projector(inputs: int, width: int) -> nn.Sequential:
    """Three layers, batch norm on each, the last one's included."""
    layers: list[nn.Module] = []
    for size in (inputs, width, width):
        layers += [nn.Linear(size, width), BatchNorm(width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _build_predictor(width: int) -> nn.Sequential:
    hidden_units = max(1, width // 2)
    first, last = nn.Linear(width, hidden_units), nn.Linear(hidden_units, width)
    return nn.Sequential(first, BatchNorm(hidden_units), nn.ReLU(), last)
