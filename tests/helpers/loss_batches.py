"""Embeddings and ids for the tests of the losses, and ways to run a loss on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from uniclip.losses import tiling
from uniclip.losses.similarity import DomainSimilarity

WIDTH = 5
SWITCHES = [
    ("negatives", "outside", "all"),
    ("negatives", "outside", "domain"),
    ("negatives", "outside", "slot"),
    ("negatives", "outside", "not_text_text"),
    ("all", "outside", "all"),
    ("all", "outside", "not_text_text"),
    ("all", "outside", "domain"),
    ("all", "outside", "slot"),
    ("all", "inside", "all"),
]
"""(denominator, aggregate, negatives): every combination that is defined."""
WEIGHTS = ["balanced", "uniform", (0.0, 1.0, 1.0), (2.0, 0.5, 3.0)]
IDS = {
    "two views": [(s, d, k) for k, d in ((0, 0), (1, 0), (2, 1)) for s in (7, -3, 2**62)],
    "one view": [(s, d, d) for d in (0, 1) for s in (4, 1, 9)],
    "uneven": [(1, 0, 0), (1, 0, 1), (1, 1, 2), (2, 0, 0), (2, 1, 2), (3, 0, 1), (4, 1, 2)],
    "duplicates": [(s, d, k) for s in (5, 5, 6) for k, d in ((0, 0), (1, 0), (2, 1))],
    "texts share a sample": [(1, 0, 0), (1, 1, 1), (1, 1, 1), (2, 0, 0), (2, 1, 1)],
    "no text": [(s, 0, k) for s in (1, 2, 3) for k in (0, 1)],
    "no image": [(1, 1, 0), (1, 1, 1), (2, 1, 0), (3, 1, 0)],
    "one sample": [(1, 0, 0), (1, 0, 1), (1, 1, 2)],
    "slots of mixed domains": [(1, 0, 0), (1, 1, 0), (2, 0, 1), (2, 1, 0), (3, 0, 1)],
}
"""The (sample, domain, slot) of each embedding of a batch."""
SIMILARITY_SETTINGS = [
    ((0.07, 0.07, 0.07), (0.0, 0.0, 0.0)),
    ((0.01, 0.3, 1.0), (0.4, 0.0, -0.7)),
    ((1.0, 0.01, 0.02), (-1.0, 0.0, 1.0)),
]
"""(temperatures, offsets) of image-image, image-text and text-text."""


def build_embeddings(
    ids: list[tuple[int, int, int]], seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z (a leaf), sample, domain and slot of a batch with these ids."""
    sample, domain, slot = (torch.tensor(column) for column in zip(*ids))
    generator = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(len(ids), WIDTH, generator=generator, dtype=dtype), dim=1)
    return z.requires_grad_(), sample, domain, slot


def build_view_embeddings(
    num_samples: int, num_views: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return z, sample, domain and slot as a method orders them: view by view, then the texts."""
    slots = range(num_views + 1)
    ids = [(s, int(k == num_views), k) for k in slots for s in range(num_samples)]
    return build_embeddings(ids, seed, dtype)


def build_pairs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images and texts (n, WIDTH), float64 leaves."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, n, WIDTH, generator=generator, dtype=torch.float64)
    image, text = F.normalize(rows, dim=-1)
    return image.requires_grad_(), text.requires_grad_()


def build_domain_similarity(
    taus: Any = (0.07, 0.07, 0.07),
    offsets: Any = (0.0, 0.0, 0.0),
    dtype: torch.dtype = torch.float64,
) -> DomainSimilarity:
    """Return a similarity with these temperatures and offsets."""
    similarity = DomainSimilarity().to(dtype)
    with torch.no_grad():
        similarity.log_scale.copy_(-torch.tensor(taus, dtype=dtype).log())
        similarity.offset.copy_(torch.tensor(offsets, dtype=dtype))
    return similarity


def value_and_gradients(loss: Tensor, *leaves: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the loss and its gradient with respect to each leaf; zeros for an unused leaf."""
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return loss.detach(), list(gradients)


@st.composite
def tile_sizes(draw: Any) -> tuple[int, int, int]:
    """Draw rows of a tile, `TILE_ASPECT` and `DIAGONAL_DIVISOR`."""
    return draw(st.integers(1, 20)), draw(st.integers(1, 3)), draw(st.integers(1, 6))


def run_with_tile_sizes(sizes: tuple[int, int, int], function: Callable[[int], Any]) -> Any:
    """Return function(rows of a tile) with tiles of these sizes."""
    tile_rows, aspect, diagonal_divisor = sizes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "TILE_ASPECT", aspect)
        patch.setattr(tiling, "DIAGONAL_DIVISOR", diagonal_divisor)
        return function(tile_rows)


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor that an operation creates, forward and backward."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result
