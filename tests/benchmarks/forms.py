"""The forms in which a loss is measured: ours streamed and dense, and what others do instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from uniclip.distributed import SINGLE_PROCESS
from uniclip.losses.image_text import (
    clip_loss,
    compute_class_means,
    compute_symmetric_loss,
    unicl_loss,
)
from uniclip.losses.multi_positive import (
    compute_negative_logsumexp,
    compute_positive_scores,
    multi_positive,
    sum_anchor_losses,
)
from uniclip.losses.positives import build_pair_structure
from uniclip.losses.similarity import DomainSimilarity

IMAGES = 2
"""Views of each sample in the losses of the family: M = 3 N."""
FAMILY = {
    "mp_nce": dict(denominator="negatives", aggregate="outside", negatives="all"),
    "sup_con": dict(denominator="all", aggregate="outside", negatives="all"),
    "mil_nce": dict(denominator="all", aggregate="inside", negatives="all"),
    "multi_view_info_nce": dict(denominator="negatives", aggregate="outside", negatives="slot"),
}
PAIRWISE = ("clip", "unicl")
FORMS = ("streamed", "dense", "compile", "checkpoint", "open_clip")


@dataclass(frozen=True)
class Case:
    """One loss of N pairs, in one form."""

    objective: str
    form: str
    pairs: int
    tau: float
    width: int = 512
    chunk: int = 1024

    @property
    def embeddings(self) -> int:
        """How many rows meet each other: M."""
        return self.pairs * (2 if self.objective in PAIRWISE else IMAGES + 1)

    @property
    def floor(self) -> float:
        """Floating-point operations that a loss with its gradients cannot do without, if scores are
        not kept: each pair's score, there and back, and what it pulls at both of its ends.

        4 M^2 D where all meet; fewer where images meet only texts, or a slot only the others.
        """
        n = self.pairs
        meetings = {"multi_view_info_nce": IMAGES * (IMAGES + 1) / 2, "clip": 1, "unicl": 1}
        met = meetings.get(self.objective, (IMAGES + 1) ** 2 / 2) * n * n
        return 8 * met * self.width


Step = Callable[[], tuple[float, float]]
"""Forward and backward: the loss, and the length of the embeddings' gradient."""


def step(case: Case) -> Step:
    """The case as something to be run."""
    torch.manual_seed(0)
    loss, leaves = (_family if case.objective in FAMILY else _pairwise)(case)

    def run() -> tuple[float, float]:
        value = loss()
        gradient, *_ = torch.autograd.grad(value, leaves, allow_unused=True)
        return value.item(), gradient.norm().item()

    return run


def _family(case: Case) -> tuple[Callable[[], Tensor], list[Tensor]]:
    n, slots = case.pairs, IMAGES + 1
    z = F.normalize(torch.randn(n * slots, case.width), dim=1).requires_grad_()
    slot = torch.arange(slots).repeat_interleave(n)
    sample, domain = torch.arange(n).repeat(slots), (slot == IMAGES).long()
    similarity, switches = DomainSimilarity(case.tau), FAMILY[case.objective]
    weights = "uniform" if switches["negatives"] == "slot" else "balanced"
    leaves = [z, *similarity.parameters()]
    if case.form in ("streamed", "dense"):
        chunk = case.chunk if case.form == "streamed" else None
        given = (z, sample, domain, slot, similarity)
        return lambda: multi_positive(*given, chunk=chunk, weights=weights, **switches), leaves
    pool = build_pair_structure(z, sample, domain, slot, switches["negatives"], weights)

    def part(z: Tensor, rows: slice) -> Tensor:
        positive = compute_positive_scores(z, z, pool, similarity, rows)
        rivals = compute_negative_logsumexp(z, z, pool, similarity, rows)
        how = switches["denominator"], switches["aggregate"]
        return sum_anchor_losses(positive, rivals, pool, rows, *how) / len(z)

    return _in_parts(case, part, z, len(z)), leaves


def _pairwise(case: Case) -> tuple[Callable[[], Tensor], list[Tensor]]:
    z = F.normalize(torch.randn(2, case.pairs, case.width), dim=2).requires_grad_()
    image, text = z
    labels = torch.randint(-1, max(case.pairs // 8, 1), (case.pairs,))
    scale = torch.tensor(1 / case.tau, requires_grad=True)
    leaves = [z, scale]
    if case.form in ("streamed", "dense"):
        chunk = case.chunk if case.form == "streamed" else None
        if case.objective == "clip":
            return lambda: clip_loss(*z, scale, chunk=chunk), leaves
        return lambda: unicl_loss(*z, labels, scale, chunk=chunk), leaves
    if case.form == "open_clip":
        from open_clip.loss import ClipLoss

        peer = ClipLoss()
        return lambda: peer(*z, scale), leaves

    def part(z: Tensor, rows: slice) -> Tensor:
        image, text = z
        means = (compute_class_means(v, labels) for v in z) if case.objective == "unicl" else z
        return compute_symmetric_loss(image, text, *means, scale, rows, None, SINGLE_PROCESS)

    return _in_parts(case, part, z, len(image)), leaves


def _in_parts(
    case: Case, part: Callable[[Tensor, slice], Tensor], z: Tensor, rows: int
) -> Callable[[], Tensor]:
    """All rows compiled as one, or a sum over chunks of rows that are computed twice."""
    if case.form == "compile":
        whole = torch.compile(part)
        return lambda: whole(z, slice(0, rows))
    starts = range(0, rows, case.chunk)
    chunks = [slice(start, min(start + case.chunk, rows)) for start in starts]
    return lambda: torch.stack(
        [checkpoint(part, z, chunk, use_reentrant=False) for chunk in chunks]
    ).sum()
