"""UniCLIP's augmentation encoder f_A and image head g_I: from features to the joint space.

The image encoder receives the augmented image only; the parameters of the augmentation are combined
with its features here. How the paper combines them is not known to us: each block below is a
candidate (our reconstruction), and `ablation=heads` compares them. A text that says "left" of a
mirrored image depends on the product of side and flip. Scaling by the augmentation ("film",
feature-wise linear modulation, Perez et al., 2018) and a low-rank product ("product", as in
bilinear pooling, Kim et al., 2017) give that directly; an MLP after "concat" has to learn it. All
have the same number of parameters, up to one rank or hidden unit.

Initial scales matter, and are ours too. Every MLP preserves variance, and biases are zero, so that
the identity transform modulates nothing at first. How large the modulation of another transform is
at first is the gain, a multiple of the features of f_A (`uniclip.config.heads`). At 0 the head
starts without the augmentation, as in adaLN-Zero (Peebles and Xie, 2023).

Letters: B images, A dimensions of an augmentation vector, W width of f_A, F features, D width of
the joint space, R rank of a product.
"""

from __future__ import annotations

import itertools
from typing import Literal, Union

import torch
from torch import Tensor, nn

from uniclip.config.heads import MODULATION_INIT_GAINS
from uniclip.config.heads import Fusion as ConfiguredFusion

HeadType = Literal["augmentation_aware", "linear"]
"""The image head: `ImageHead`, or a linear projection without bias."""
Fusion = Union[ConfiguredFusion, Literal["none"]]
"""How `ImageHead` combines the features of image and augmentation; "none" = image only."""

MLP_EXPANSION = 2
"""Hidden units of a film block's MLP as a multiple of D."""
GELU_GAIN = 2**0.5
"""Approximate factor by which a GELU reduces the standard deviation."""


class AugmentationEncoder(nn.Module):
    """f_A: an MLP (our choice) over augmentation vectors, (B, A) -> (B, W).

    Args:
        vector_dim: A.
        augmentation_dim: W, also of the hidden layers.
        num_layers: linear layers, with a GELU between each two.
    """

    def __init__(self, vector_dim: int, augmentation_dim: int, num_layers: int = 2) -> None:
        super().__init__()
        self.layers = _build_mlp(vector_dim, *[augmentation_dim] * num_layers)

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
        modulation_gain: initial standard deviation of the modulation, as a multiple of that of the
            features of f_A; None = the default of the fusion.
    """

    def __init__(
        self,
        num_features: int,
        augmentation_dim: int,
        embed_dim: int,
        num_blocks: int,
        fusion: Fusion,
        modulation_gain: float | None = None,
    ):
        super().__init__()
        self.projection = nn.Linear(num_features, embed_dim)
        self.blocks = _build_blocks(
            fusion, embed_dim, augmentation_dim, num_blocks, modulation_gain
        )

    def forward(self, features: Tensor, augmentation_features: Tensor | None) -> Tensor:
        hidden: Tensor = self.projection(features)
        for block in self.blocks:
            hidden = block(hidden, augmentation_features)
        return hidden

    def list_modulation_parameters(self) -> list[nn.Parameter]:
        """Return the parameters by which the augmentation modulates the image, of all blocks."""
        modulations = [getattr(block, "modulation", None) for block in self.blocks]
        return [p for m in modulations if isinstance(m, nn.Module) for p in m.parameters()]


class FilmBlock(nn.Module):
    """u + MLP(u) with u = (1 + gamma(a)) * LN(h) + beta(a).

    The residual stream itself is modulated: if h were passed on beside it, the embedding would hold
    the unmodulated content of the view (such as a side) until the MLP had learned to cancel it.
    """

    def __init__(self, embed_dim: int, augmentation_dim: int, gain: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.modulation = _init_linear(nn.Linear(augmentation_dim, 2 * embed_dim), gain)
        self.mlp = _build_mlp(embed_dim, MLP_EXPANSION * embed_dim, embed_dim)

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        gamma, beta = self.modulation(augmentation_features).chunk(2, dim=-1)
        hidden = self.scale(gamma) * self.norm(hidden) + beta
        update: Tensor = self.mlp(hidden)
        return hidden + update

    def scale(self, gamma: Tensor) -> Tensor:
        """Return the factors of the features, (B, D), from gamma (B, D)."""
        return 1 + gamma


class CosineBlock(FilmBlock):
    """A `FilmBlock` with cos(gamma(a)) in place of 1 + gamma(a).

    A factor then lies in [-1, 1]: it can change the sign of a unit, and cannot enlarge it. It is 1
    at gamma = 0, but its slope there is 0: gamma must not start at zero.
    """

    def scale(self, gamma: Tensor) -> Tensor:
        return gamma.cos()


class LowRankProduct(nn.Module):
    """W3 (W1 x * W2 a): a product of image and augmentation of rank R, without biases.

    (B, D) and (B, W) -> (B, D). R is such that there are as many weights as in the modulation of a
    `FilmBlock`. The gain is that of W3: at 0 the product is zero, and W3 alone learns at first.
    """

    def __init__(self, embed_dim: int, augmentation_dim: int, gain: float) -> None:
        super().__init__()
        rank = compute_rank(embed_dim, augmentation_dim)
        self.image_factor = _init_linear(nn.Linear(embed_dim, rank, bias=False))
        self.augmentation_factor = _init_linear(nn.Linear(augmentation_dim, rank, bias=False))
        self.output = _init_linear(nn.Linear(rank, embed_dim, bias=False), gain)

    def forward(self, features: Tensor, augmentation_features: Tensor) -> Tensor:
        factors = self.image_factor(features) * self.augmentation_factor(augmentation_features)
        product: Tensor = self.output(factors)
        return product


class ProductBlock(nn.Module):
    """u + MLP(u) with u = LN(h) + W3 (W1 LN(h) * W2 a).

    Norm and MLP are those of a `FilmBlock`, drawn before it: they start with the same weights.
    """

    def __init__(
        self, film_block: FilmBlock, embed_dim: int, augmentation_dim: int, gain: float
    ) -> None:
        super().__init__()
        self.norm, self.mlp = film_block.norm, film_block.mlp
        self.modulation = LowRankProduct(embed_dim, augmentation_dim, gain)

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        hidden = self.norm(hidden)
        hidden = hidden + self.modulation(hidden, augmentation_features)
        update: Tensor = self.mlp(hidden)
        return hidden + update


class ProductConcatBlock(nn.Module):
    """u + MLP([u, a]) with u = LN(h) + W3 (W1 LN(h) * W2 a)."""

    def __init__(
        self, film_block: FilmBlock, embed_dim: int, augmentation_dim: int, gain: float
    ) -> None:
        super().__init__()
        self.norm = film_block.norm
        self.modulation = LowRankProduct(embed_dim, augmentation_dim, gain)
        inputs = embed_dim + augmentation_dim
        hidden_units = _fit_hidden_units(_count_film_mlp_parameters(embed_dim), inputs, embed_dim)
        self.fusion_mlp = _build_mlp(inputs, hidden_units, embed_dim)

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        hidden = self.norm(hidden)
        hidden = hidden + self.modulation(hidden, augmentation_features)
        update: Tensor = self.fusion_mlp(torch.cat([hidden, augmentation_features], dim=-1))
        return hidden + update


class ConcatBlock(nn.Module):
    """h + MLP([LN(h), a]), with as many parameters as a `FilmBlock`."""

    def __init__(self, embed_dim: int, augmentation_dim: int) -> None:
        super().__init__()
        inputs = embed_dim + augmentation_dim
        film_parameters = 2 * embed_dim * (augmentation_dim + 1) + _count_film_mlp_parameters(
            embed_dim
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.fusion_mlp = _build_mlp(
            inputs, _fit_hidden_units(film_parameters, inputs, embed_dim), embed_dim
        )

    def forward(self, hidden: Tensor, augmentation_features: Tensor) -> Tensor:
        update: Tensor = self.fusion_mlp(
            torch.cat([self.norm(hidden), augmentation_features], dim=-1)
        )
        return hidden + update


class PlainBlock(nn.Module):
    """u + MLP(u) with u = LN(h): a `FilmBlock` at gamma = beta = 0, with the same weights."""

    def __init__(self, film_block: FilmBlock) -> None:
        super().__init__()
        self.norm, self.mlp = film_block.norm, film_block.mlp

    def forward(self, hidden: Tensor, augmentation_features: Tensor | None) -> Tensor:
        hidden = self.norm(hidden)
        update: Tensor = self.mlp(hidden)
        return hidden + update


def compute_rank(embed_dim: int, augmentation_dim: int) -> int:
    """Return the rank that gives a product as many weights as a film block's modulation."""
    return round(2 * embed_dim * (augmentation_dim + 1) / (2 * embed_dim + augmentation_dim))


def _build_blocks(
    fusion: Fusion, embed_dim: int, augmentation_dim: int, num_blocks: int, gain: float | None
) -> nn.ModuleList:
    """Return the residual blocks with their initial weights; `gain` None = the fusion's default.

    All but those of "concat" take norms and MLPs of complete film blocks, which are drawn first:
    the parts that they share have the same initial weights.
    """
    if fusion == "concat":
        return nn.ModuleList(ConcatBlock(embed_dim, augmentation_dim) for _ in range(num_blocks))
    film_class = CosineBlock if fusion == "cosine" else FilmBlock
    if gain is None:
        gain = MODULATION_INIT_GAINS.get(fusion, 0.0)
    films = [film_class(embed_dim, augmentation_dim, gain) for _ in range(num_blocks)]
    if fusion == "none":
        return nn.ModuleList(PlainBlock(film) for film in films)
    if fusion in ("film", "cosine"):
        return nn.ModuleList(films)
    product_class = ProductBlock if fusion == "product" else ProductConcatBlock
    return nn.ModuleList(product_class(film, embed_dim, augmentation_dim, gain) for film in films)


def _init_linear(linear: nn.Linear, gain: float = 1.0) -> nn.Linear:
    """Draw `linear` so that outputs have `gain` times the inputs' standard deviation; zero bias."""
    nn.init.normal_(linear.weight, std=gain / linear.in_features**0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


def _build_mlp(*widths: int) -> nn.Sequential:
    """Return an MLP that preserves variance: each layer compensates for the GELU before it.

    widths: of the inputs, of each hidden layer, and of the outputs.
    """
    linears = [nn.Linear(inputs, outputs) for inputs, outputs in itertools.pairwise(widths)]
    layers: list[nn.Module] = []
    for linear in linears:
        layers += [nn.GELU()] if layers else []
        layers.append(_init_linear(linear, GELU_GAIN if len(layers) else 1.0))
    return nn.Sequential(*layers)


def _count_mlp_parameters(inputs: int, hidden_units: int, outputs: int) -> int:
    """Return the number of weights and biases of `_build_mlp`."""
    return (inputs + 1) * hidden_units + (hidden_units + 1) * outputs


def _count_film_mlp_parameters(embed_dim: int) -> int:
    return _count_mlp_parameters(embed_dim, MLP_EXPANSION * embed_dim, embed_dim)


def _fit_hidden_units(num_parameters: int, inputs: int, outputs: int) -> int:
    """Return the hidden units that give a two-layer MLP about `num_parameters` parameters."""
    fixed_parameters = _count_mlp_parameters(inputs, 0, outputs)
    parameters_per_unit = _count_mlp_parameters(inputs, 1, outputs) - fixed_parameters
    return round((num_parameters - fixed_parameters) / parameters_per_unit)
