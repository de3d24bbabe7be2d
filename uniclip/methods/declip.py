"""DeCLIP (Li et al., ICLR 2022): four loss terms from one batch.

They are CLIP between two views and two captions (one unchanged, one augmented); CLIP's
image-to-text direction against the nearest neighbors of the captions in a queue of past captions;
SimSiam (Chen and He, CVPR 2021) between the views; and a masked language model.

As published, the "unchanged" caption is the masked one, so that one forward pass serves both
losses; the text encoder stays causal, so masked tokens are predicted from the tokens before them;
and the queue starts with random rows. Our choices: the padding token is the mask token; the text
projection has no bias, as in every method here (the published one has); and a queue smaller than
the texts of a batch takes equally many unchanged and augmented captions (the published one keeps
the last rows, which are all augmented).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniclip.config import DeclipMethod, ViewsConfig
from uniclip.losses.image_text import clip_loss, image_to_text_loss
from uniclip.methods.base import SingleTemperatureMethod
from uniclip.models.batch_norm import BatchNorm
from uniclip.models.embedder import fork_seeded_rng

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.vocabulary import Vocabulary

LOSS_TERMS = ("contrastive", "nearest_neighbor", "simsiam", "mlm")
NEIGHBOR_CHUNK_ROWS = 256
"""Number of texts whose neighbors are looked up at once: 67 MB of similarities with the published
queue of 65,536 rows."""


class Declip(SingleTemperatureMethod):
    """DeCLIP, with the loss terms of `LOSS_TERMS`."""

    min_log_scale: ClassVar[float] = 3.0
    queue: Tensor
    """(queue_size, D) float16: embeddings of past captions."""
    queue_position: Tensor
    """() int64: the next row of the queue to be replaced."""

    def __init__(self, config: DeclipMethod, views: ViewsConfig) -> None:
        super().__init__(config.temperature)
        self.config = config
        self.loss_weights = dict(zip(LOSS_TERMS, self.config.loss_weights))
        self.forward_passes = config.count_forward_passes(views)
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
            embedder.apply_image_head(
                embedder.compute_image_features(pixels, kept_patches), vectors
            )
            for pixels, vectors, kept_patches in zip(
                batch.images,
                batch.augmentation_vectors,
                batch.kept_patches if batch.kept_patches is not None else [None] * 2,
            )
        ]
        hidden_states = embedder.compute_text_hidden_states(batch.masked_tokens)
        rows, columns = (batch.mlm_labels >= 0).nonzero(as_tuple=True)
        rows, columns = (
            index.to(hidden_states.device, non_blocking=True) for index in (rows, columns)
        )
        return {
            "views": torch.stack(raw_embeddings).transpose(0, 1),
            "masked": embedder.project_text(hidden_states, batch.masked_tokens),
            "augmented": embedder.encode_text(batch.augmented_tokens),
            "masked_states": hidden_states[rows, columns],
        }

    def compute_terms_from_embeddings(
        self, embeddings: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        assert batch.mlm_labels is not None
        raw_embeddings = list(embeddings["views"].unbind(1))
        views = [F.normalize(rows.float(), dim=-1) for rows in raw_embeddings]
        texts = [embeddings["masked"], embeddings["augmented"]]
        scale, loss_kwargs = self.log_scale.exp(), self.loss_kwargs(2 * len(texts[0]))
        contrastive_losses = [
            clip_loss(view, text, scale, **loss_kwargs) for view in views for text in texts
        ]
        neighbor_texts = [self._find_neighbors(text) for text in texts]
        neighbor_losses = [
            image_to_text_loss(view, neighbor_text, scale, **loss_kwargs)
            for view in views
            for neighbor_text in neighbor_texts
        ]
        if self.training:
            self._enqueue(texts)
        return {
            "contrastive": torch.stack(contrastive_losses).mean(),
            "nearest_neighbor": torch.stack(neighbor_losses).mean(),
            "simsiam": self._compute_simsiam_loss(raw_embeddings),
            "mlm": self._compute_mlm_loss(embeddings["masked_states"], batch.mlm_labels),
        }

    def _compute_simsiam_loss(self, raw_embeddings: list[Tensor]) -> Tensor:
        """Return minus the mean cosine of each view's prediction with the other's projection, ().

        raw_embeddings: two views, each (N, D), before normalization.
        """
        projections = [self.projector(rows) for rows in raw_embeddings]
        predictions = [self.predictor(rows) for rows in projections]
        first_cosine = F.cosine_similarity(predictions[0].float(), projections[1].detach().float())
        second_cosine = F.cosine_similarity(predictions[1].float(), projections[0].detach().float())
        return self.process_group.mean_contribution(-(first_cosine + second_cosine) / 2)

    def _compute_mlm_loss(self, hidden_states: Tensor, mlm_labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the masked tokens, (); 0 if none is masked.

        Args:
            hidden_states: (H, F) states of the text encoder at the H masked tokens.
            mlm_labels: (N, L) int64 on the CPU, the masked tokens; negative where a token is not
                masked.
        """
        logits = self.language_head(hidden_states).float()
        masked_tokens = mlm_labels[mlm_labels >= 0].to(logits.device, non_blocking=True)
        token_losses = F.cross_entropy(logits, masked_tokens, reduction="none")
        mean_loss = self.process_group.mean_contribution(token_losses)
        return mean_loss + 0 * self.language_head.weight.sum()

    @torch.no_grad()
    def _find_neighbors(self, texts: Tensor) -> Tensor:
        """Return the nearest row of the queue for each text (N, D), (N, D) unit rows."""
        queue = self.queue.to(texts.dtype)
        chunks = torch.split(texts, NEIGHBOR_CHUNK_ROWS)
        with torch.autocast(texts.device.type, enabled=False):
            nearest_index = torch.cat([(rows @ queue.T).argmax(1) for rows in chunks])
        return F.normalize(queue[nearest_index], dim=-1)

    @torch.no_grad()
    def _enqueue(self, texts: list[Tensor]) -> None:
        """Replace the oldest rows of the queue by the texts of all processes, unchanged ones first.

        texts: the unchanged and the augmented captions, each (N, D).
        """
        queue_size = len(self.queue)
        max_rows = (queue_size - queue_size // 2, queue_size // 2)
        _, all_texts = self.process_group.all_gather_samples(*(text.detach() for text in texts))
        rows = torch.cat([text[:num_rows] for text, num_rows in zip(all_texts, max_rows)])
        offsets = torch.arange(len(rows), device=rows.device)
        self.queue[(self.queue_position + offsets) % queue_size] = rows.half()
        self.queue_position.copy_((self.queue_position + len(rows)) % queue_size)


def _build_projector(inputs: int, width: int) -> nn.Sequential:
    """Return three layers with batch norm after each, the last one included."""
    layers: list[nn.Module] = []
    for size in (inputs, width, width):
        layers += [nn.Linear(size, width), BatchNorm(width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _build_predictor(width: int) -> nn.Sequential:
    """Return two layers with a bottleneck of half the width, batch norm after the first."""
    hidden_units = max(1, width // 2)
    first, last = nn.Linear(width, hidden_units), nn.Linear(hidden_units, width)
    return nn.Sequential(first, BatchNorm(hidden_units), nn.ReLU(), last)
