"""The forms in which a loss is measured: streamed and dense, and what peers do instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from uniclip.config.losses import MULTI_POSITIVE_LOSSES, PositiveWeights
from uniclip.distributed import SINGLE_PROCESS
from uniclip.losses.image_text import (
    clip_loss,
    compute_class_means,
    compute_symmetric_loss,
    unicl_loss,
)
from uniclip.losses.multi_positive import (
    compute_named_loss,
    compute_negative_logsumexp,
    compute_positive_scores,
    sum_anchor_losses,
)
from uniclip.losses.positives import build_pair_structure
from uniclip.losses.sigmoid import siglip_loss
from uniclip.losses.similarity import DomainSimilarity

NUM_VIEWS = 2
"""Views of each sample in the multi-positive losses: M = 3 N."""
PAIRWISE = ("clip", "unicl", "siglip")
FORMS_OF_SIGLIP = ("streamed", "dense", "open_clip")
"""Its scores need no sum over candidates, so that there is nothing to checkpoint by rows."""
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
        """The number of rows that are compared, M."""
        return self.pairs * (2 if self.objective in PAIRWISE else NUM_VIEWS + 1)

    @property
    def floor(self) -> float:
        """The smallest number of floating-point operations of a loss and its gradients.

        If scores are not stored, each pair's score is computed forward and backward, and its
        gradient goes to both embeddings: 4 M^2 D if all pairs are compared; fewer if images are
        compared with texts only, or a slot with the other slots only.
        """
        n = self.pairs
        comparisons = {
            "multi_view_info_nce": NUM_VIEWS * (NUM_VIEWS + 1) / 2,
            "clip": 1,
            "unicl": 1,
            "siglip": 3 / 4,  # scores are computed once, together with their gradients
        }
        compared_pairs = comparisons.get(self.objective, (NUM_VIEWS + 1) ** 2 / 2) * n * n
        return 8 * compared_pairs * self.width


Step = Callable[[], tuple[float, float]]
"""Runs forward and backward; returns the loss and the norm of the embeddings' gradient."""


def build_step(case: Case) -> Step:
    """Return a function that runs the case."""
    torch.manual_seed(0)
    is_pairwise = case.objective in PAIRWISE
    loss, leaves = (_build_pairwise if is_pairwise else _build_multi_positive)(case)

    def run() -> tuple[float, float]:
        value = loss()
        gradient, *_ = torch.autograd.grad(value, leaves, allow_unused=True)
        return value.item(), gradient.norm().item()

    return run


def _build_multi_positive(case: Case) -> tuple[Callable[[], Tensor], list[Tensor]]:
    n, slots = case.pairs, NUM_VIEWS + 1
    z = F.normalize(torch.randn(n * slots, case.width), dim=1).requires_grad_()
    slot = torch.arange(slots).repeat_interleave(n)
    sample, domain = torch.arange(n).repeat(slots), (slot == NUM_VIEWS).long()
    similarity, switches = DomainSimilarity(case.tau), MULTI_POSITIVE_LOSSES[case.objective]
    negatives = switches.negatives or "all"
    weights: PositiveWeights = "uniform" if negatives == "slot" else "balanced"
    leaves = [z, *similarity.parameters()]
    if case.form in ("streamed", "dense"):
        chunk = case.chunk if case.form == "streamed" else None
        inputs = (case.objective, z, sample, domain, slot, similarity)
        return lambda: compute_named_loss(*inputs, chunk=chunk, weights=weights), leaves
    structure = build_pair_structure(z, sample, domain, slot, negatives, weights)

    def compute_rows(z: Tensor, rows: slice) -> Tensor:
        positive_logits = compute_positive_scores(z, z, structure, similarity, rows)
        negative_logsumexp = compute_negative_logsumexp(z, z, structure, similarity, rows)
        return sum_anchor_losses(
            positive_logits,
            negative_logsumexp,
            structure,
            rows,
            switches.denominator,
            switches.aggregate,
        ) / len(z)

    return _compute_by_rows(case, compute_rows, z, len(z)), leaves


def _build_pairwise(case: Case) -> tuple[Callable[[], Tensor], list[Tensor]]:
    z = F.normalize(torch.randn(2, case.pairs, case.width), dim=2).requires_grad_()
    image, text = z
    labels = torch.randint(-1, max(case.pairs // 8, 1), (case.pairs,))
    scale = torch.tensor(1 / case.tau, requires_grad=True)
    bias = torch.tensor(-10.0, requires_grad=True)
    leaves = [z, scale]
    if case.form in ("streamed", "dense"):
        chunk = case.chunk if case.form == "streamed" else None
        if case.objective == "clip":
            return lambda: clip_loss(*z, scale, chunk=chunk), leaves
        if case.objective == "siglip":
            return lambda: siglip_loss(*z, scale, bias, chunk=chunk), [*leaves, bias]
        return lambda: unicl_loss(*z, labels, scale, chunk=chunk), leaves
    if case.form == "open_clip":
        from open_clip.loss import ClipLoss, SigLipLoss

        if case.objective == "siglip":
            return lambda: SigLipLoss()(*z, scale, bias), [*leaves, bias]
        peer = ClipLoss()
        return lambda: peer(*z, scale), leaves

    def compute_rows(z: Tensor, rows: slice) -> Tensor:
        image, text = z
        means = (compute_class_means(v, labels) for v in z) if case.objective == "unicl" else z
        return compute_symmetric_loss(image, text, *means, scale, rows, None, SINGLE_PROCESS)

    return _compute_by_rows(case, compute_rows, z, len(image)), leaves


def _compute_by_rows(
    case: Case, compute_rows: Callable[[Tensor, slice], Tensor], z: Tensor, num_rows: int
) -> Callable[[], Tensor]:
    """Return the loss with all rows compiled at once, or as a sum over checkpointed chunks."""
    if case.form == "compile":
        compiled = torch.compile(compute_rows)
        return lambda: compiled(z, slice(0, num_rows))
    starts = range(0, num_rows, case.chunk)
    chunks = [slice(start, min(start + case.chunk, num_rows)) for start in starts]
    return lambda: torch.stack(
        [checkpoint(compute_rows, z, chunk, use_reentrant=False) for chunk in chunks]
    ).sum()
