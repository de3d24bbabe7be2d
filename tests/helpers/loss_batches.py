"""Batches for the tests of the losses, and what is asked of a loss."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

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
WEIGHTS = ["balanced", "uniform", (0.0, 1.0, 1.0), (2.0, 0.5, 3.0)]
# Each a list of (sample, domain, slot).
POOLS = {
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
SETTINGS = [
    ((0.07, 0.07, 0.07), (0.0, 0.0, 0.0)),
    ((0.01, 0.3, 1.0), (0.4, 0.0, -0.7)),
    ((1.0, 0.01, 0.02), (-1.0, 0.0, 1.0)),
]


def pool(entries, seed=0, dtype=torch.float64):
    """z (a leaf), sample, domain and slot of a pool."""
    sample, domain, slot = (torch.tensor(ids) for ids in zip(*entries))
    generator = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(len(entries), WIDTH, generator=generator, dtype=dtype), dim=1)
    return z.requires_grad_(), sample, domain, slot


def views(samples, images, seed=0, dtype=torch.float64):
    """A pool as methods make it: `images` views of each sample, then its text."""
    slots = [(s, int(k == images), k) for k in range(images + 1) for s in range(samples)]
    return pool(slots, seed, dtype)


def domain_similarity(taus=(0.07, 0.07, 0.07), offsets=(0.0, 0.0, 0.0), dtype=torch.float64):
    similarity = DomainSimilarity().to(dtype)
    with torch.no_grad():
        similarity.log_scale.copy_(-torch.tensor(taus, dtype=dtype).log())
        similarity.offset.copy_(torch.tensor(offsets, dtype=dtype))
    return similarity


def value_and_gradients(loss, *leaves):
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    return loss.detach(), list(gradients)


def pairs(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(2, n, WIDTH, generator=generator, dtype=torch.float64)
    image, text = F.normalize(rows, dim=-1)
    return image.requires_grad_(), text.requires_grad_()


class LargestTensor(TorchDispatchMode):
    """Sees every tensor that an operation makes, in the forward and the backward pass."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return made
