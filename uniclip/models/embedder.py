"""The embedder: images, augmentation vectors and texts in, unit vectors of one space out.

z = g_I(f_I(A(x)), f_A(a)) for images and z = g_T(f_T(t)) for texts (UniCLIP, Lee et al., NeurIPS
2022), or linear projections of both (CLIP). Each component is drawn under a seed of its own, so
that two configurations with the same seed share the initial weights of their common components.

Letters: B images or texts, A dimensions of an augmentation vector, F features, L tokens, D width of
the joint space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.config import ModelConfig, RunConfig
from uniclip.config.heads import Fusion as ConfiguredFusion
from uniclip.models import initialization
from uniclip.models.encoders import ImageEncoder, TextEncoder
from uniclip.models.heads import AugmentationEncoder, Fusion, HeadType, ImageHead
from uniclip.models.text_encoder import LibraryTextEncoder
from uniclip.models.vocabulary import Vocabulary


class AugmentationAwareConfig(Protocol):
    """What the configuration of a method with an augmentation-aware head defines."""

    @property
    def augmentation_input(self) -> Literal["true", "identity", "shuffled", "none"]: ...
    @property
    def visible_transforms(self) -> Sequence[str] | None: ...
    @property
    def fusion(self) -> ConfiguredFusion: ...
    @property
    def modulation_init_gain(self) -> float | None: ...


class Embedder(nn.Module):
    """The encoders and heads of images and texts; built by `build_embedder`.

    Args:
        image_encoder: f_I, (B, 3, H, W) uint8 -> (B, F).
        text_encoder: f_T, (B, L) int64 -> (B, F).
        augmentation_encoder: f_A; None = image embeddings do not depend on the augmentation.
        image_head: g_I, or a linear projection.
        text_head: the linear projection g_T.
        mask_input: feed zeros, the vector of the identity transform, to f_A (awareness off).
        visible_transforms: the groups of transforms whose parameters f_A receives; None = all.
        lock: the encoders that are not trained: without gradient, norms and dropout in evaluation
            mode.
    """

    column_mask: Tensor | None
    """(A,): 1 for the columns that f_A receives, 0 for the others; None = all."""

    def __init__(
        self,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder | LibraryTextEncoder,
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
        """Set the training mode; locked encoders stay in evaluation mode."""
        super().train(mode)
        for tower in self._locked_towers:
            tower.eval()
        return self

    def compute_image_features(self, pixels: Tensor, kept_patches: Tensor | None = None) -> Tensor:
        """Return the features of the image encoder, (B, F), of pixels (B, 3, H, W) uint8.

        kept_patches: (B, K) int64, the patches that it sees in training; None = all.
        """
        features: Tensor = self.image_encoder(pixels, kept_patches)
        return features

    def encode_image(
        self, pixels: Tensor, vectors: Tensor, kept_patches: Tensor | None = None
    ) -> Tensor:
        """Return unit rows (B, D) float32 of pixels (B, 3, H, W) uint8 and vectors (B, A).

        kept_patches: As of `compute_image_features`.
        """
        return self.project_image(self.compute_image_features(pixels, kept_patches), vectors)

    def project_image(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Return unit rows (B, D) float32 of image features (B, F) and vectors (B, A)."""
        return normalize_rows(self.apply_image_head(features, vectors))

    def apply_image_head(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Return the rows (B, D) that `project_image` normalizes."""
        if isinstance(self.image_head, nn.Linear):
            rows: Tensor = self.image_head(features)
        else:
            rows = self.image_head(features, self._encode_augmentation(vectors))
        return rows

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit rows (B, D) float32 of tokens (B, L) int64."""
        return self.project_text(self.compute_text_hidden_states(tokens), tokens)

    def compute_text_hidden_states(self, tokens: Tensor) -> Tensor:
        """Return the text encoder's state at each of the tokens (B, L) int64, (B, L, F)."""
        hidden_states: Tensor = self.text_encoder.compute_hidden_states(tokens)
        return hidden_states

    def project_text(self, hidden_states: Tensor, tokens: Tensor) -> Tensor:
        """Return unit rows (B, D) float32 of hidden states (B, L, F) of tokens (B, L) int64."""
        return normalize_rows(self.text_head(self.text_encoder.pool(hidden_states, tokens)))

    def list_modulation_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the image head by which the augmentation modulates images."""
        head = self.image_head
        return head.list_modulation_parameters() if isinstance(head, ImageHead) else []

    def _encode_augmentation(self, vectors: Tensor) -> Tensor | None:
        """Return the features of f_A, (B, W), of vectors (B, A); None without f_A."""
        if self.augmentation_encoder is None:
            return None
        visible_vectors = torch.zeros_like(vectors) if self.mask_input else vectors
        if self.column_mask is not None:
            visible_vectors = visible_vectors * self.column_mask
        augmentation_features: Tensor = self.augmentation_encoder(visible_vectors)
        return augmentation_features


def build_embedder(config: RunConfig, vocabulary: Vocabulary, head_type: HeadType) -> Embedder:
    """Return the embedder of `config` with its initial weights, on the CPU.

    Args:
        config: the model, the seed, the locked encoders, and the settings of the method's head.
        vocabulary: the tokenizer whose ids the tokens are.
        head_type: "augmentation_aware" needs a `config.method` with the fields of
            `AugmentationAwareConfig`; "linear" projects images as texts.

    Raises:
        UserError: the image model cannot be built (see `ImageEncoder`).
    """
    model, seed = config.model, config.seed
    head_config = (
        cast(AugmentationAwareConfig, config.method) if head_type == "augmentation_aware" else None
    )
    augmentation_input = "none" if head_config is None else head_config.augmentation_input
    with fork_seeded_rng(seed, "image_encoder"):
        image_encoder = ImageEncoder(model.image)
    with fork_seeded_rng(seed, "text_encoder"):
        text_encoder = build_text_encoder(model, vocabulary)
    with fork_seeded_rng(seed, "text_head"):
        text_head = nn.Linear(text_encoder.num_features, model.embed_dim, bias=False)
        initialization.init_projection(text_head, model.initialization)
    augmentation_encoder: AugmentationEncoder | None = None
    if augmentation_input != "none":
        with fork_seeded_rng(seed, "augmentation_encoder"):
            augmentation_encoder = AugmentationEncoder(
                transform.VECTOR_DIM, model.augmentation_width, model.augmentation_layers
            )
    with fork_seeded_rng(seed, "image_head"):
        image_head = _build_image_head(model, image_encoder.num_features, head_config)
    return Embedder(
        image_encoder,
        text_encoder,
        augmentation_encoder,
        image_head,
        text_head,
        mask_input=augmentation_input == "identity",
        visible_transforms=None if head_config is None else head_config.visible_transforms,
        lock=config.lock,
    )


def build_text_encoder(
    model: ModelConfig, vocabulary: Vocabulary
) -> TextEncoder | LibraryTextEncoder:
    """Return the text encoder of `model` with initial weights of torch's generator.

    Raises:
        UserError: transformers cannot build it (see `LibraryTextEncoder`).
    """
    if not model.text.is_clip:
        return LibraryTextEncoder(model.text, vocabulary)
    text_encoder = TextEncoder(model.text, vocabulary)
    initialization.init_text_encoder(text_encoder.body, model.initialization)
    return text_encoder


def _build_image_head(
    model: ModelConfig, num_features: int, head_config: AugmentationAwareConfig | None
) -> ImageHead | nn.Linear:
    """Return an augmentation-aware head, or a linear projection if `head_config` is None."""
    if head_config is None:
        projection = nn.Linear(num_features, model.embed_dim, bias=False)
        initialization.init_projection(projection, model.initialization)
        return projection
    fusion: Fusion = "none" if head_config.augmentation_input == "none" else head_config.fusion
    return ImageHead(
        num_features,
        model.augmentation_width,
        model.embed_dim,
        model.num_head_blocks,
        fusion,
        head_config.modulation_init_gain,
    )


@contextmanager
def fork_seeded_rng(seed: int, component: str) -> Iterator[None]:
    """Seed torch's CPU generator for `component`; restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        # 63 bits, because the generator takes a signed seed.
        torch.default_generator.manual_seed(rng.derive_key(seed, "init", component) & (2**63 - 1))
        yield


def normalize_rows(rows: Tensor) -> Tensor:
    """Return the rows (B, D) at unit length, float32."""
    return F.normalize(rows.float(), dim=-1)
