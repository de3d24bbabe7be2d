"""UniCLIP's augmentation encoder f_A and image head g_I: from features to the joint space.

The image encoder receives the augmented image only; the parameters of the augmentation are combined
with its features here. How the paper combines them is not known to us. "film" (feature-wise linear
modulation, Perez et al., 2018) is our reconstruction and the default: a text that says "left" of a
mirrored image depends on the product of side and flip, which scaling by the augmentation gives
directly, and which an MLP after "concat" has to learn. Both have the same number of parameters, up
to one hidden unit.

Initial scales matter (our choice): a product is learned only while both factors are still present,
and early training shrinks features that are not useful yet. So every MLP preserves variance, gamma
and beta are drawn wide enough to change the sign of a unit, and biases are zero (the identity
transform gives gamma = beta = 0).

Letters: B images, A dimensions of an augmentation vector, W width of f_A, F features, D width of
the joint space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

HeadType = Literal["augmentation_aware", "linear"]
"""The image head: `ImageHead`, or a linear projection without bias."""
Fusion = Literal["film", "concat", "none"]
"""How `ImageHead` combines the features of image and augmentation; "none" = image only."""

MLP_EXPANSION = 2
"""Hidden units of a film block's MLP as a multiple of D."""
MODULATION_INIT_GAIN = 6.0
"""Initial standard deviation of gamma and beta as a multiple of that of the features of f_A."""
GELU_GAIN = 2**0.5
"""Approximate factor by which a GELU reduces the standard deviation."""


class AugmentationEncoder(nn.Module):
    """f_A: a two-layer MLP (our choice) over augmentation vectors, (B, A) -> (B, W).

    Args:
        vector_dim: A.
        augmentation_dim: W.
    """

    def __init__(self, vector_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        self.layers = _build_mlp(vector_dim, augmentation_dim, augmentation_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        features: Tensor = self.layers(vectors)
        return features


class ImageHead(nn.Module):
    """g_I: a projection, then residual blocks that receive the augmentation.

    (B, F) and (B, W) -> (B, D), not normalized. With fusion "none" the blocks receive the image
    only.

    Args:
        num_features: F.
        augmentation_dim: W.
        embed_dim: D.
        num_blocks: the number of residual blocks.
        fusion: the type of the blocks.
    """

    def __init__(
        self,
        num_features: int,
        augmentation_dim: int,
        embed_dim: int,
        num_blocks: int,
        fusion: Fusion,
    ):
        super().__init__()
        self.projection = nn.Linear(num_features, embed_dim)
        block_class = {"film": FilmBlock, "concat": ConcatBlock, "none": PlainBlock}[fusion]
        self.blocks = nn.ModuleList(
            block_class(embed_dim, augmentation_dim) for _ in range(num_blocks)
        )

    def forward(self, features: Tensor, augmentation_features: Tensor | None) -> Tensor:
        hidden: Tensor = self.projection(features)
        for block in self.blocks:
            hidden = block(hidden, augmentation_features)
        return hidden


class FilmBlock(nn.Module):
    """u + MLP(u) with u = (1 + gamma(a)) * LN(h) + beta(a).

    The residual stream itself is modulated: if h were passed on beside it, the embedding would hold
    the unmodulated content of the view (such as a side) until the MLP had learned to cancel it.
    """

    def __init__(self, embed_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.modulation = _init_linear(
            nn.Linear(augmentation_dim, 2 * embed_dim), MODULATION_INIT_GAIN
        )
        self.mlp = _build_mlp(embed_dim, MLP_EXPANSION * embed_dim, embed_dim)

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        gamma, beta = self.modulation(augmentation_features).chunk(2, dim=-1)
        hidden = (1 + gamma) * self.norm(hidden) + beta
        update: Tensor = self.mlp(hidden)
        return hidden + update


class ConcatBlock(nn.Module):
    """h + MLP([LN(h), a]), with as many parameters as a `FilmBlock`."""

    def __init__(self, embed_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        hidden_units = _compute_concat_units(embed_dim, augmentation_dim)
        self.norm = nn.LayerNorm(embed_dim)
        self.fusion_mlp = _build_mlp(embed_dim + augmentation_dim, hidden_units, embed_dim)

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        update: Tensor = self.fusion_mlp(
            torch.cat([self.norm(hidden), augmentation_features], dim=-1)
        )
        return hidden + update


class PlainBlock(nn.Module):
    """u + MLP(u) with u = LN(h): a `FilmBlock` at gamma = beta = 0, with the same weights."""

    def __init__(self, embed_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        # A complete film block is drawn, so that norm and MLP get the same initial weights.
        film_block = FilmBlock(embed_dim, augmentation_dim)
        self.norm, self.mlp = film_block.norm, film_block.mlp

    def forward(self, hidden: Tensor, augmentation_features: Tensor | None) -> Tensor:
        hidden = self.norm(hidden)
        update: Tensor = self.mlp(hidden)
        return hidden + update


def _init_linear(linear: nn.Linear, gain: float = 1.0) -> nn.Linear:
    """Draw `linear` so that outputs have `gain` times the inputs' standard deviation; zero bias."""
    nn.init.normal_(linear.weight, std=gain / linear.in_features**0.5)
    nn.init.zeros_(linear.bias)
    return linear


def _build_mlp(inputs: int, hidden_units: int, outputs: int) -> nn.Sequential:
    """Return a two-layer MLP that preserves variance; the second layer compensates for the GELU."""
    first, second = nn.Linear(inputs, hidden_units), nn.Linear(hidden_units, outputs)
    return nn.Sequential(_init_linear(first), nn.GELU(), _init_linear(second, GELU_GAIN))


def _count_mlp_parameters(inputs: int, hidden_units: int, outputs: int) -> int:
    """Return the number of weights and biases of `_build_mlp`."""
    return (inputs + 1) * hidden_units + (hidden_units + 1) * outputs


def _compute_concat_units(embed_dim: int, augmentation_dim: int) -> int:
    """Return the hidden units that give a concat block as many parameters as a film block."""
    film_parameters = 2 * embed_dim * (augmentation_dim + 1) + _count_mlp_parameters(
        embed_dim, MLP_EXPANSION * embed_dim, embed_dim
    )
    inputs = embed_dim + augmentation_dim
    fixed_parameters = _count_mlp_parameters(inputs, 0, embed_dim)
    parameters_per_unit = _count_mlp_parameters(inputs, 1, embed_dim) - fixed_parameters
    return round((film_parameters - fixed_parameters) / parameters_per_unit)
