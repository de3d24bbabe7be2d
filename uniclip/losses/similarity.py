"""How close two embeddings are, given the domains that they come from.

UniCLIP's domain-dependent similarity: s_ij = (cos(z_i, z_j) - b_D) / tau_D, where D is the
unordered pair of domains of i and j. Temperatures are learnt in log space. Both classes
below answer the same two questions (`scales`, `offsets`) for the three domain pairs, in the order
of `PAIRS`; the pair of two embeddings is the sum of their domains (0 image, 1 text). At their
start they are one function.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn

DOMAIN_PAIRS = ("ii", "it", "tt")
"""Image-image, image-text, text-text: index = sum of the two domains."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 1.0
MAX_OFFSET = 1.0


class Similarity(nn.Module, ABC):
    """What the losses need to know of a similarity; see `DomainSimilarity`, `SharedSimilarity`."""

    log_scale: Tensor

    @abstractmethod
    def scales(self) -> Tensor:
        """Multipliers 1/tau for `PAIRS`, (3,)."""

    def offsets(self) -> Tensor:
        """Offsets b for `PAIRS`, (3,), in units of the cosine."""
        return self.log_scale.new_zeros(len(DOMAIN_PAIRS))

    def forward(self, cosine: Tensor, pair: Tensor) -> Tensor:
        """Scores (cosine - b) / tau; cosine (...), pair (...) int64 indices into `PAIRS`."""
        pair_index = pair.flatten()
        scale = self.scales().to(cosine.dtype).index_select(0, pair_index).view(pair.shape)
        offset = self.offsets().to(cosine.dtype).index_select(0, pair_index).view(pair.shape)
        return (cosine - offset) * scale

    @torch.no_grad()
    def clamp(self) -> None:
        """Brings every temperature back into [0.01, 1]; to be called after each optimiser step."""
        self.log_scale.clamp_(-math.log(MAX_TEMPERATURE), -math.log(MIN_TEMPERATURE))

    @torch.no_grad()
    def get_learned_scalars(self) -> dict[str, float]:
        """tau_ii, tau_it, tau_tt, b_ii, b_it, b_tt as they are now."""
        temperatures = (1 / self.scales().double()).tolist()
        values = {f"tau_{pair}": tau for pair, tau in zip(DOMAIN_PAIRS, temperatures)}
        return values | {f"b_{pair}": b for pair, b in zip(DOMAIN_PAIRS, self.offsets().tolist())}


class DomainSimilarity(Similarity):
    """A temperature and an offset for each domain pair (UniCLIP, Lee et al., NeurIPS 2022).

    Leaves: log_scale (3,) = -log tau and offset (3,), in the order of `PAIRS`. Only differences of
    offsets act in the losses, so the image-text offset is 0 for ever, with gradient 0. That all
    temperatures start alike and all offsets at 0 is our choice: the paper's are not known to us.

    Args:
        temperature: the initial tau of every pair.
    """

    offset_mask: Tensor

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
    """A temperature for each domain pair, no offsets: half of the component."""

    def offsets(self) -> Tensor:
        return self.offset * 0


class DomainOffsetSimilarity(DomainSimilarity):
    """An offset for each domain pair, one temperature: the other half."""

    def scales(self) -> Tensor:
        return self.log_scale[:1].repeat(len(DOMAIN_PAIRS)).exp()


class SharedSimilarity(Similarity):
    """One temperature for every domain pair, no offsets: UniCLIP without its third component.

    Leaf: log_scale () = -log tau.

    Args:
        temperature: the initial tau.
    """

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    def scales(self) -> Tensor:
        # Repeated before exp, so that the same vector kernel runs as for three temperatures.
        return self.log_scale.repeat(len(DOMAIN_PAIRS)).exp()


class FixedSimilarity(Similarity):
    """One temperature that is not learnt, no offsets.

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
    """The multiplier 1/tau between image and text: what turns cosines into zero-shot logits."""
    return cast(float, similarity.scales()[DOMAIN_PAIRS.index("it")].item())
