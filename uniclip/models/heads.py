"""From features to the joint space: UniCLIP's augmentation encoder f_A and image head g_I.

The image encoder sees the augmented picture only; what the augmentation did meets its features
here. How the paper lets them meet is not known to us. "film" (feature-wise linear modulation,
Perez et al., 2018) is our reconstruction and the default: text that says "left" of a mirrored
picture asks for a product of side and flip, which a scale by the augmentation gives at once, and
which a "concat" in front of an MLP has to learn. Both have as many parameters, to one hidden unit.

Initial scales matter (ours): a product is only found while both of its factors are still there,
and early training flattens what is no use yet. So variance is kept through every MLP, gamma and
beta are drawn wide enough to turn the sign of a unit, and biases are zero ("nothing done" is
gamma = beta = 0).

Letters: B pictures, A numbers of an augmentation vector, W width of f_A, F features, D width of
the joint space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Fusion = Literal["film", "concat", "none"]

MLP_EXPANSION = 2
"""Hidden units of a film block's MLP, in multiples of D."""
MODULATION_INIT_GAIN = 6.0
"""Initial deviation of gamma and beta, in multiples of that of the augmentation's features."""
GELU_GAIN = 2**0.5
"""What the GELU takes of a deviation, roughly."""


class AugmentationEncoder(nn.Module):
    """f_A: an MLP over the vector of an augmentation, (B, A) -> (B, W); two layers (ours)."""

    def __init__(self, vector_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        self.layers = _build_mlp(vector_dim, augmentation_dim, augmentation_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        features: Tensor = self.layers(vectors)
        return features


class ImageHead(nn.Module):
    """g_I: a projection, then residual blocks into which the augmentation enters.

    (B, F) and (B, W) -> (B, D), not normalised. With fusion "none" the blocks see no augmentation.
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

    The stream itself is modulated: were h passed on beside it, what the view shows (its side) would
    stand in the embedding unmodulated until the MLP had learnt to cancel it.
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
    """h + MLP([LN(h), a]), as wide as a `FilmBlock` has parameters; it shares no MLP with one."""

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
    """u + MLP(u) with u = LN(h): a `FilmBlock` at gamma = beta = 0, from the same weights."""

    def __init__(self, embed_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        film_block = FilmBlock(
            embed_dim, augmentation_dim
        )  # whole, so that norm and MLP start as they do there
        self.norm, self.mlp = film_block.norm, film_block.mlp

    def forward(self, hidden: Tensor, augmentation_features: Tensor | None) -> Tensor:
        hidden = self.norm(hidden)
        update: Tensor = self.mlp(hidden)
        return hidden + update


def _init_linear(linear: nn.Linear, gain: float = 1.0) -> nn.Linear:
    """`linear`, drawn so that outputs have `gain` times the inputs' deviation, without bias."""
    nn.init.normal_(linear.weight, std=gain / linear.in_features**0.5)
    nn.init.zeros_(linear.bias)
    return linear


def _build_mlp(inputs: int, hidden_units: int, outputs: int) -> nn.Sequential:
    """Two layers; the second makes up for what the GELU takes."""
    first, second = nn.Linear(inputs, hidden_units), nn.Linear(hidden_units, outputs)
    return nn.Sequential(_init_linear(first), nn.GELU(), _init_linear(second, GELU_GAIN))


def _count_mlp_parameters(inputs: int, hidden_units: int, outputs: int) -> int:
    return (inputs + 1) * hidden_units + (hidden_units + 1) * outputs


def _compute_concat_units(embed_dim: int, augmentation_dim: int) -> int:
    """Hidden units that give a concat block the parameters of a film block; norms are equal."""
    film_parameters = 2 * embed_dim * (augmentation_dim + 1) + _count_mlp_parameters(
        embed_dim, MLP_EXPANSION * embed_dim, embed_dim
    )
    inputs = embed_dim + augmentation_dim
    parameters_per_unit = _count_mlp_parameters(inputs, 1, embed_dim) - _count_mlp_parameters(
        inputs, 0, embed_dim
    )
    return round(
        (film_parameters - _count_mlp_parameters(inputs, 0, embed_dim)) / parameters_per_unit
    )
