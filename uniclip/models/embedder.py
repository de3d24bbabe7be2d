"""The embedder: pictures, augmentation vectors and texts in, unit vectors of one space out.

z = g_I(f_I(A(x)), f_A(a)) for pictures, z = g_T(f_T(t)) for texts (UniCLIP, Lee et al., NeurIPS
2022), or linear projections of both (CLIP). Each part is built under its own seed, so that two
configurations with one seed share the initial weights of the parts that they share.

Letters: B pictures or texts, A numbers of an augmentation vector, F features, L tokens, D width of
the joint space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.config import RunConfig
from uniclip.models import initialization
from uniclip.models.encoders import ImageEncoder, TextEncoder, Vocabulary
from uniclip.models.heads import AugmentationEncoder, Fusion, ImageHead


class Embedder(nn.Module):
    """Encoders and heads; `build_embedder` makes one.

    forget: feed "nothing done" to f_A whatever the vectors say (awareness off).
    told: the groups of transforms that f_A is told of; None = all.
    frozen: which encoders do not learn: no gradient, and norms and dropout as in evaluation.
    """

    keeps: Tensor | None

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        augmentation_encoder: AugmentationEncoder | None,
        image_head: ImageHead | nn.Linear,
        text_head: nn.Linear,
        *,
        forget: bool = False,
        told: Sequence[str] | None = None,
        frozen: Literal["none", "image", "text", "both"] = "none",
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.augmentation_encoder = augmentation_encoder
        self.image_head = image_head
        self.text_head = text_head
        self.forget = forget
        columns = [c for group in told or () for c in transform.GROUPS[group]]
        keeps = torch.zeros(transform.WIDTH).index_fill_(0, torch.tensor(columns).long(), 1.0)
        self.register_buffer("keeps", None if told is None else keeps, persistent=False)
        self._frozen: list[nn.Module] = []
        if frozen in ("image", "both"):
            self._frozen.append(image_encoder)
        if frozen in ("text", "both"):
            self._frozen.append(text_encoder)
        for tower in self._frozen:
            tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Embedder:
        """As torch's, but frozen encoders stay in evaluation mode."""
        super().train(mode)
        for tower in self._frozen:
            tower.eval()
        return self

    def trunk(self, pixels: Tensor) -> Tensor:
        """Features of the image encoder alone, (B, F), of pixels (B, 3, H, W) uint8."""
        features: Tensor = self.image_encoder(pixels)
        return features

    def images(self, pixels: Tensor, vectors: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of pixels (B, 3, H, W) uint8 and vectors (B, A) float32."""
        return self.project(self.trunk(pixels), vectors)

    def project(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of the image encoder's features (B, F) and vectors (B, A)."""
        return unit(self.head(features, vectors))

    def head(self, features: Tensor, vectors: Tensor) -> Tensor:
        """What `project` brings to unit length, (B, D)."""
        if isinstance(self.image_head, nn.Linear):
            return self.image_head(features)
        return self.image_head(features, self._augmentation(vectors))

    def texts(self, tokens: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of tokens (B, L) int64."""
        return self.project_text(self.states(tokens), tokens)

    def states(self, tokens: Tensor) -> Tensor:
        """The text encoder's state at every token, (B, L, F), of tokens (B, L) int64."""
        states: Tensor = self.text_encoder.states(tokens)
        return states

    def project_text(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of the states (B, L, F) at tokens (B, L) int64."""
        return unit(self.text_head(self.text_encoder.pool(states, tokens)))

    def _augmentation(self, vectors: Tensor) -> Tensor | None:
        if self.augmentation_encoder is None:
            return None
        known = torch.zeros_like(vectors) if self.forget else vectors
        known = known if self.keeps is None else known * self.keeps
        encoded: Tensor = self.augmentation_encoder(known)
        return encoded


def build_embedder(
    config: RunConfig, vocabulary: Vocabulary, head: Literal["aware", "linear"]
) -> Embedder:
    """The embedder of `config` as it is before the first step, on the CPU.

    head: "aware" needs a method with `aware` and `fusion`; "linear" projects images as texts.

    Raises:
        UserError: if the image model cannot be built (see `ImageEncoder`).
    """
    model, seed = config.model, config.seed
    with seeded(seed, "image_encoder"):
        image_encoder = ImageEncoder(model.image)
    with seeded(seed, "text_encoder"):
        text_encoder = TextEncoder(model.text, vocabulary)
        initialization.text_encoder(text_encoder.body, model.initialization)
    with seeded(seed, "text_head"):
        text_head = nn.Linear(text_encoder.features, model.embedding, bias=False)
        initialization.projection(text_head, model.initialization)
    aware = config.method.aware if head == "aware" else "none"
    augmentation_encoder: AugmentationEncoder | None = None
    if aware != "none":
        with seeded(seed, "augmentation_encoder"):
            augmentation_encoder = AugmentationEncoder(transform.WIDTH, model.augmentation_width)
    with seeded(seed, "image_head"):
        image_head = _image_head(config, image_encoder.features, head)
    return Embedder(
        image_encoder,
        text_encoder,
        augmentation_encoder,
        image_head,
        text_head,
        forget=aware == "identity",
        told=config.method.told if head == "aware" else None,
        frozen=config.frozen,
    )


def _image_head(
    config: RunConfig, features: int, head: Literal["aware", "linear"]
) -> ImageHead | nn.Linear:
    model = config.model
    if head == "linear":
        projection = nn.Linear(features, model.embedding, bias=False)
        initialization.projection(projection, model.initialization)
        return projection
    fusion: Fusion = "none" if config.method.aware == "none" else config.method.fusion
    width, blocks = model.augmentation_width, model.head_blocks
    return ImageHead(features, width, model.embedding, blocks, fusion)


@contextmanager
def seeded(seed: int, part: str) -> Iterator[None]:
    """Torch's CPU generator seeded for `part`, and as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        # 63 bits: the generator takes a signed seed.
        torch.default_generator.manual_seed(rng.key(seed, "init", part) & (2**63 - 1))
        yield


def unit(rows: Tensor) -> Tensor:
    """Rows (B, D) at unit length, float32."""
    return F.normalize(rows.float(), dim=-1)
