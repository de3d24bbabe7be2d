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
from uniclip.methods.base import Scaled
from uniclip.models.batch_norm import BatchNorm
from uniclip.models.embedder import seeded

if TYPE_CHECKING:
    from uniclip.data.batch import Batch
    from uniclip.models.embedder import Embedder
    from uniclip.models.encoders import Vocabulary

PARTS = ("contrastive", "neighbour", "simsiam", "language")
ROWS = 256
"""Of texts whose neighbours are looked up at once: 67 MB of similarities to the published queue."""


class Declip(Scaled):
    """DeCLIP: parts "contrastive", "neighbour", "simsiam" and "language"."""

    lowest: ClassVar[float] = 3.0
    queue: Tensor
    place: Tensor

    def __init__(self, config: RunConfig) -> None:
        assert isinstance(config.method, DeclipMethod)
        super().__init__(config.method.temperature)
        self.config = config.method
        self.weights = dict(zip(PARTS, self.config.weights))
        self.forwards = config.method.forwards(config.views)
        self.clamp()

    def attach(self, embedder: Embedder, vocabulary: Vocabulary, seed: int) -> None:
        embedding = embedder.text_head.out_features
        with seeded(seed, "projector"):
            self.projector = _projector(embedding, self.config.ssl_width)
        with seeded(seed, "predictor"):
            self.predictor = _predictor(self.config.ssl_width)
        with seeded(seed, "language_head"):
            self.language_head = nn.Linear(embedder.text_encoder.features, vocabulary.size)
        with seeded(seed, "queue"):
            rows = F.normalize(torch.randn(self.config.queue, embedding), dim=-1)
        self.register_buffer("queue", rows.half())
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))

    def embed(self, embedder: Embedder, batch: Batch) -> dict[str, Tensor]:
        assert batch.edited is not None
        assert batch.masked is not None
        assert batch.targets is not None
        raw = [
            embedder.head(embedder.trunk(pixels), vectors)
            for pixels, vectors in zip(batch.pixels, batch.vectors)
        ]
        states = embedder.states(batch.masked)
        return {
            "views": torch.stack(raw).transpose(0, 1),
            "masked": embedder.project_text(states, batch.masked),
            "edited": embedder.texts(batch.edited),
            "hidden": states[batch.targets >= 0],
        }

    def losses(self, embedded: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        raw = list(embedded["views"].unbind(1))
        views = [F.normalize(rows.float(), dim=-1) for rows in raw]
        texts = [embedded["masked"], embedded["edited"]]
        scale, how = self.log_scale.exp(), self.how(2 * len(texts[0]))
        contrastive = [clip_loss(v, t, scale, **how) for v in views for t in texts]
        neighbours = [self._neighbours(t) for t in texts]
        neighbour = [image_to_text_loss(v, n, scale, **how) for v in views for n in neighbours]
        if self.training:
            self._enqueue(texts)
        return {
            "contrastive": torch.stack(contrastive).mean(),
            "neighbour": torch.stack(neighbour).mean(),
            "simsiam": self._simsiam(raw),
            "language": self._language(embedded["hidden"], batch.targets),
        }

    def _simsiam(self, raw: list[Tensor]) -> Tensor:
        """Minus the cosine of each view's prediction with the other's projection, averaged."""
        projected = [self.projector(rows) for rows in raw]
        predicted = [self.predictor(rows) for rows in projected]
        one = F.cosine_similarity(predicted[0].float(), projected[1].detach().float())
        two = F.cosine_similarity(predicted[1].float(), projected[0].detach().float())
        return self.processes.mean_share(-(one + two) / 2)

    def _language(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the hidden tokens, whose states are (H, F); 0 if none is hidden."""
        logits = self.language_head(hidden).float()
        costs = F.cross_entropy(logits, targets[targets >= 0], reduction="none")
        return self.processes.mean_share(costs) + 0 * self.language_head.weight.sum()

    @torch.no_grad()
    def _neighbours(self, texts: Tensor) -> Tensor:
        """For each row (N, D) the nearest one of the queue, (N, D)."""
        queue = self.queue.to(texts.dtype)
        nearest = torch.cat([(rows @ queue.T).argmax(1) for rows in texts.split(ROWS)])
        return F.normalize(queue[nearest], dim=-1)

    @torch.no_grad()
    def _enqueue(self, texts: list[Tensor]) -> None:
        """Put the rows of all processes in place of the oldest, those of the caption first."""
        room = len(self.queue)
        most = (room - room // 2, room // 2)
        rows = torch.cat([self.processes.gather(t.detach())[:n] for t, n in zip(texts, most)])
        at = (self.place + torch.arange(len(rows), device=rows.device)) % len(self.queue)
        self.queue[at] = rows.half()
        self.place.copy_((self.place + len(rows)) % len(self.queue))


def _projector(inputs: int, width: int) -> nn.Sequential:
    """Three layers, batch norm on each, the last one's included."""
    layers: list[nn.Module] = []
    for size in (inputs, width, width):
        layers += [nn.Linear(size, width), BatchNorm(width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _predictor(width: int) -> nn.Sequential:
    inside = max(1, width // 2)
    first, last = nn.Linear(width, inside), nn.Linear(inside, width)
    return nn.Sequential(first, BatchNorm(inside), nn.ReLU(), last)
