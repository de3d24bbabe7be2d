"""From features to the joint space: UniCLIP's augmentation encoder f_A and image head g_I.

The image encoder sees the augmented picture only; what the augmentation did meets its features
here. How the paper lets them meet is not known to us. "film" (feature-wise linear modulation,
Perez et al., 2018) is our reconstruction and the default: text that says "left" of a mirrored
picture asks for a product of side and flip, which a scale by the augmentation gives at once, and
which a "concat" in front of an MLP has to learn. Both have as many parameters, to one hidden unit.

Initial scales matter (ours): variance is kept through f_A and into gamma and beta, so that they
differ by nearly 1 between views from the first step on. At torch's defaults they differ by a tenth
of that, and the product is found several times later. Biases start at zero: "nothing done" is
gamma = beta = 0.

Letters: B pictures, A numbers of an augmentation vector, W width of f_A, F features, D width of
the joint space.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Fusion = Literal["film", "concat", "none"]

EXPANSION = 2
"""Hidden units of a film block's MLP, in multiples of D."""


class AugmentationEncoder(nn.Module):
    """f_A: an MLP over the vector of an augmentation, (B, A) -> (B, W); two layers (ours)."""

    def __init__(self, numbers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _kept(nn.Linear(numbers, width)), nn.GELU(), _kept(nn.Linear(width, width))
        )

    def forward(self, vectors: Tensor) -> Tensor:
        features: Tensor = self.layers(vectors)
        return features


class ImageHead(nn.Module):
    """g_I: a projection, then residual blocks into which the augmentation enters.

    (B, F) and (B, W) -> (B, D), not normalised. With fusion "none" the blocks see no augmentation.
    """

    def __init__(self, features: int, width: int, embedding: int, blocks: int, fusion: Fusion):
        super().__init__()
        self.project = nn.Linear(features, embedding)
        block = {"film": FilmBlock, "concat": ConcatBlock, "none": PlainBlock}[fusion]
        self.blocks = nn.ModuleList(block(embedding, width) for _ in range(blocks))

    def forward(self, features: Tensor, augmentation: Tensor | None) -> Tensor:
        hidden: Tensor = self.project(features)
        for block in self.blocks:
            hidden = block(hidden, augmentation)
        return hidden


class FilmBlock(nn.Module):
    """h + MLP((1 + gamma(a)) * LN(h) + beta(a))."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding)
        self.modulate = _kept(nn.Linear(width, 2 * embedding))
        self.mlp = _mlp(embedding, EXPANSION * embedding, embedding)

    def forward(self, hidden: Tensor, augmentation: Tensor) -> Tensor:
        gamma, beta = self.modulate(augmentation).chunk(2, dim=-1)
        change: Tensor = self.mlp((1 + gamma) * self.norm(hidden) + beta)
        return hidden + change


class ConcatBlock(nn.Module):
    """h + MLP([LN(h), a]), as wide as a `FilmBlock` has parameters."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        units = _concat_units(embedding, width)
        self.norm = nn.LayerNorm(embedding)
        self.mlp = _mlp(embedding + width, units, embedding)

    def forward(self, hidden: Tensor, augmentation: Tensor) -> Tensor:
        change: Tensor = self.mlp(torch.cat([self.norm(hidden), augmentation], dim=-1))
        return hidden + change


class PlainBlock(nn.Module):
    """h + MLP(LN(h)): no augmentation."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding)
        self.mlp = _mlp(embedding, EXPANSION * embedding, embedding)

    def forward(self, hidden: Tensor, augmentation: Tensor | None) -> Tensor:
        change: Tensor = self.mlp(self.norm(hidden))
        return hidden + change


def _kept(linear: nn.Linear) -> nn.Linear:
    """`linear` with outputs of the variance of its inputs, and zero where they are zero."""
    nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
    nn.init.zeros_(linear.bias)
    return linear


def _mlp(inputs: int, units: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, units), nn.GELU(), nn.Linear(units, outputs))


def _mlp_size(inputs: int, units: int, outputs: int) -> int:
    return (inputs + 1) * units + (units + 1) * outputs


def _concat_units(embedding: int, width: int) -> int:
    """Hidden units that give a concat block the parameters of a film block; norms are equal."""
    film = 2 * embedding * (width + 1) + _mlp_size(embedding, EXPANSION * embedding, embedding)
    inputs = embedding + width
    unit = _mlp_size(inputs, 1, embedding) - _mlp_size(inputs, 0, embedding)
    return round((film - _mlp_size(inputs, 0, embedding)) / unit)
