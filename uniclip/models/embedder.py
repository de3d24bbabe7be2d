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

    column_mask: Tensor | None

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        augmentation_encoder: AugmentationEncoder | None,
        image_head: ImageHead | nn.Linear,
        text_head: nn.Linear,
        *,
        mask_input: bool = False,
        visible_transforms: Sequence[str] | None = None,
        lock: Literal["none", "image", "text", "both"] = "none",
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.augmentation_encoder = augmentation_encoder
        self.image_head = image_head
        self.text_head = text_head
        self.mask_input = mask_input
        columns = [
            c for group in visible_transforms or () for c in transform.TRANSFORM_GROUPS[group]
        ]
        column_mask = torch.zeros(transform.VECTOR_DIM).index_fill_(
            0, torch.tensor(columns).long(), 1.0
        )
        self.register_buffer(
            "column_mask", None if visible_transforms is None else column_mask, persistent=False
        )
        self._locked_towers: list[nn.Module] = []
        if lock in ("image", "both"):
            self._locked_towers.append(image_encoder)
        if lock in ("text", "both"):
            self._locked_towers.append(text_encoder)
        for tower in self._locked_towers:
            tower.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Embedder:
        """As torch's, but frozen encoders stay in evaluation mode."""
        super().train(mode)
        for tower in self._locked_towers:
            tower.eval()
        return self

    def compute_image_features(self, pixels: Tensor) -> Tensor:
        """Features of the image encoder alone, (B, F), of pixels (B, 3, H, W) uint8."""
        features: Tensor = self.image_encoder(pixels)
        return features

    def encode_image(self, pixels: Tensor, vectors: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of pixels (B, 3, H, W) uint8 and vectors (B, A) float32."""
        return self.project_image(self.compute_image_features(pixels), vectors)

    def project_image(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of the image encoder's features (B, F) and vectors (B, A)."""
        return normalize_rows(self.apply_image_head(features, vectors))

    def apply_image_head(self, features: Tensor, vectors: Tensor) -> Tensor:
        """What `project` brings to unit length, (B, D)."""
        if isinstance(self.image_head, nn.Linear):
            return self.image_head(features)
        return self.image_head(features, self._encode_augmentation(vectors))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of tokens (B, L) int64."""
        return self.project_text(self.compute_text_hidden_states(tokens), tokens)

    def compute_text_hidden_states(self, tokens: Tensor) -> Tensor:
        """The text encoder's state at every token, (B, L, F), of tokens (B, L) int64."""
        hidden_states: Tensor = self.text_encoder.compute_hidden_states(tokens)
        return hidden_states

    def project_text(self, hidden_states: Tensor, tokens: Tensor) -> Tensor:
        """Unit rows (B, D) float32 of the states (B, L, F) at tokens (B, L) int64."""
        return normalize_rows(
            self.text_head(self.text_encoder.select_eos_state(hidden_states, tokens))
        )

    def _encode_augmentation(self, vectors: Tensor) -> Tensor | None:
        if self.augmentation_encoder is None:
            return None
        visible_vectors = torch.zeros_like(vectors) if self.mask_input else vectors
        visible_vectors = (
            visible_vectors if self.column_mask is None else visible_vectors * self.column_mask
        )
        augmentation_features: Tensor = self.augmentation_encoder(visible_vectors)
        return augmentation_features


def build_embedder(
    config: RunConfig, vocabulary: Vocabulary, head_type: Literal["aware", "linear"]
) -> Embedder:
    """The embedder of `config` as it is before the first step, on the CPU.

    head: "aware" needs a method with `aware` and `fusion`; "linear" projects images as texts.

    Raises:
        UserError: if the image model cannot be built (see `ImageEncoder`).
    """
    model, seed = config.model, config.seed
    with fork_seeded_rng(seed, "image_encoder"):
        image_encoder = ImageEncoder(model.image)
    with fork_seeded_rng(seed, "text_encoder"):
        text_encoder = TextEncoder(model.text, vocabulary)
        initialization.init_text_encoder(text_encoder.body, model.initialization)
    with fork_seeded_rng(seed, "text_head"):
        text_head = nn.Linear(text_encoder.num_features, model.embed_dim, bias=False)
        initialization.init_projection(text_head, model.initialization)
    augmentation_input = config.method.augmentation_input if head_type == "aware" else "none"
    augmentation_encoder: AugmentationEncoder | None = None
    if augmentation_input != "none":
        with fork_seeded_rng(seed, "augmentation_encoder"):
            augmentation_encoder = AugmentationEncoder(
                transform.VECTOR_DIM, model.augmentation_width
            )
    with fork_seeded_rng(seed, "image_head"):
        image_head = _build_image_head(config, image_encoder.num_features, head_type)
    return Embedder(
        image_encoder,
        text_encoder,
        augmentation_encoder,
        image_head,
        text_head,
        mask_input=augmentation_input == "identity",
        visible_transforms=config.method.visible_transforms if head_type == "aware" else None,
        lock=config.lock,
    )


def _build_image_head(
    config: RunConfig, num_features: int, head_type: Literal["aware", "linear"]
) -> ImageHead | nn.Linear:
    model = config.model
    if head_type == "linear":
        projection = nn.Linear(num_features, model.embed_dim, bias=False)
        initialization.init_projection(projection, model.initialization)
        return projection
    fusion: Fusion = "none" if config.method.augmentation_input == "none" else config.method.fusion
    augmentation_dim, num_blocks = model.augmentation_width, model.num_head_blocks
    return ImageHead(num_features, augmentation_dim, model.embed_dim, num_blocks, fusion)


@contextmanager
def fork_seeded_rng(seed: int, component: str) -> Iterator[None]:
    """Torch's CPU generator seeded for `part`, and as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        # 63 bits: the generator takes a signed seed.
        torch.default_generator.manual_seed(rng.derive_key(seed, "init", component) & (2**63 - 1))
        yield


def normalize_rows(rows: Tensor) -> Tensor:
    """Rows (B, D) at unit length, float32."""
    return F.normalize(rows.float(), dim=-1)
