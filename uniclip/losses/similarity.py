"""The similarity of two embeddings, given their domains (image or text).

UniCLIP's domain-dependent similarity is s_ij = (cos(z_i, z_j) - b_D) / tau_D, where D is the
unordered pair of domains of i and j. Temperatures are learned in log space. Every class below gives
`scales` and `offsets` for the three domain pairs in the order of `DOMAIN_PAIRS`; the pair of two
embeddings is the sum of their domains (0 image, 1 text). With equal initial temperatures all
classes start as the same function.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

DOMAIN_PAIRS = ("ii", "it", "tt")
"""Image-image, image-text, text-text; the index is the sum of the two domains."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1.0
MAX_OFFSET = 1.0
"""Largest absolute offset, in units of the cosine."""


class Similarity(nn.Module, ABC):
    """The interface of a similarity: scales and offsets by domain pair."""

    log_scale: Tensor
    """-log tau."""

    @abstractmethod
    def scales(self) -> Tensor:
        """Return the multipliers 1/tau of `DOMAIN_PAIRS`, (3,)."""

    def offsets(self) -> Tensor:
        """Return the offsets b of `DOMAIN_PAIRS`, (3,), in units of the cosine."""
        return self.log_scale.new_zeros(len(DOMAIN_PAIRS))

    def forward(self, cosine: Tensor, pair: Tensor) -> Tensor:
        """Return the scores (cosine - b) / tau, (...).

        Args:
            cosine: (...) cosines.
            pair: (...) int64 indices into `DOMAIN_PAIRS`.
        """
        pair_index = pair.flatten()
        scale = self.scales().to(cosine.dtype).index_select(0, pair_index).view(pair.shape)
        offset = self.offsets().to(cosine.dtype).index_select(0, pair_index).view(pair.shape)
        return (cosine - offset) * scale

    @torch.no_grad()
    def clamp(self) -> None:
        """Clamp every temperature to [0.01, 1]; called after each optimizer step."""
        self.log_scale.clamp_(-math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE))

    @torch.no_grad()
    def get_learned_scalars(self) -> dict[str, float]:
        """Return the current tau_ii, tau_it, tau_tt, b_ii, b_it and b_tt."""
        temperatures = (1 / self.scales().double()).tolist()
        values = {f"tau_{pair}": tau for pair, tau in zip(DOMAIN_PAIRS, temperatures)}
        return values | {f"b_{pair}": b for pair, b in zip(DOMAIN_PAIRS, self.offsets().tolist())}


class DomainSimilarity(Similarity):
    """A temperature and an offset for each domain pair (UniCLIP, Lee et al., NeurIPS 2022).

    Parameters: log_scale (3,) = -log tau and offset (3,), in the order of `DOMAIN_PAIRS`. The
    losses depend on differences of offsets only, so the image-text offset stays 0, with gradient 0.
    That all temperatures start equal and all offsets at 0 is our reconstruction: the paper's
    initial values are not known to us.

    Args:
        temperature: the initial tau of every domain pair.
    """

    offset_mask: Tensor
    """(3,): 0 for image-text, 1 for the others."""

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((len(DOMAIN_PAIRS),), -math.log(temperature)))
        self.offset = nn.Parameter(torch.zeros(len(DOMAIN_PAIRS)))
        self.register_buffer("offset_mask", torch.tensor([1.0, 0.0, 1.0]), persistent=False)

    def scales(self) -> Tensor:
        return self.log_scale.exp()

    def offsets(self) -> Tensor:
        return self.offset * self.offset_mask

    @torch.no_grad()
    def clamp(self) -> None:
        super().clamp()
        self.offset.clamp_(-MAX_OFFSET, MAX_OFFSET).mul_(self.offset_mask)


class DomainTemperatureSimilarity(DomainSimilarity):
    """A temperature for each domain pair, no offsets: one half of the component."""

    def offsets(self) -> Tensor:
        return self.offset * 0


class DomainOffsetSimilarity(DomainSimilarity):
    """An offset for each domain pair, one shared temperature: the other half of the component."""

    def scales(self) -> Tensor:
        return self.log_scale[:1].repeat(len(DOMAIN_PAIRS)).exp()


class SharedSimilarity(Similarity):
    """One temperature for all domain pairs, no offsets: UniCLIP without its third component.

    Parameter: log_scale () = -log tau.

    Args:
        temperature: the initial tau.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def scales(self) -> Tensor:
        # Repeated before exp, so that the same vectorized kernel runs as for three temperatures.
        return self.log_scale.repeat(len(DOMAIN_PAIRS)).exp()


class FixedSimilarity(Similarity):
    """One temperature that is not learned, no offsets.

    Args:
        temperature: tau, in [0.01, 1].
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        log_scales = torch.full((len(DOMAIN_PAIRS),), -math.log(temperature))
        self.register_buffer("log_scale", log_scales, persistent=False)

    def scales(self) -> Tensor:
        return self.log_scale.exp()


def get_image_text_scale(similarity: Similarity) -> float:
    """Return the image-text multiplier 1/tau, which turns cosines into zero-shot logits."""
    return cast(float, similarity.scales()[DOMAIN_PAIRS.index("it")].item())
