"""SLIP against its definition, in one process and over two."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.helpers.distributed_training import run_in_processes
from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import of_method
from uniclip import distributed
from uniclip.losses.image_text import clip_loss
from uniclip.losses.multi_positive import mp_nce
from uniclip.losses.similarity import FixedSimilarity


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def nt_xent(first, second, temperature):
    """Return SimCLR's loss as in its paper: 2N anchors, one positive and 2N - 2 negatives each."""
    rows, n = torch.cat([first, second]), len(first)
    total = 0.0
    for i in range(2 * n):
        scores = [((rows[i] @ rows[j]) / temperature).exp() if j != i else 0 for j in range(2 * n)]
        total = total - (scores[(i + n) % (2 * n)] / sum(scores)).log()
    return total / (2 * n)


def test_slip_is_clip_on_the_weak_view_and_simclr_on_the_strong_ones(vocabulary):
    method, embedder = build_method_and_embedder(
        of_method("slip", method={"ssl_weight": 0.5}), vocabulary
    )
    batch = build_batch(vocabulary, 3)
    loss_terms = method.compute_loss_terms(embedder.train(), batch)
    weak = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    assert_close(
        loss_terms["contrastive"], clip_loss(weak, embedder.encode_text(batch.tokens), 1 / 0.07)
    )
    # As in SLIP's models.py: the head is called for each view, so that a view's statistics are
    # separate.
    strong = [
        F.normalize(method.ssl_head(embedder.compute_image_features(v)), dim=-1)
        for v in batch.images[1:]
    ]
    assert_close(loss_terms["simclr"], nt_xent(*strong, 0.1))
    assert_close(
        method.sum_loss_terms(loss_terms), loss_terms["contrastive"] + 0.5 * loss_terms["simclr"]
    )


def compute_slip_gradients(rank, folder, vocabulary):
    """Save the actual and the expected gradients of SLIP's losses, by `gather_with_grad`."""
    gradients = {}
    for gather_with_grad in (True, False):
        config = of_method("slip", method={"gather_with_grad": gather_with_grad})
        method, embedder = build_method_and_embedder(config, vocabulary)
        batch = build_batch(vocabulary, 3)
        embeddings = method.embed(embedder, batch)
        local_rows = slice(rank * 3, rank * 3 + 3)
        object.__setattr__(batch, "sample_ids", batch.sample_ids[local_rows])
        leaves = {
            name: rows[local_rows].detach().requires_grad_() for name, rows in embeddings.items()
        }
        loss_terms = method.compute_terms_from_embeddings(leaves, batch)
        scale, group = 1 / 0.07, distributed.get_process_group(gather_with_grad)
        clip = clip_loss(leaves["weak"], leaves["texts"], scale, process_group=group)
        heads = [method.ssl_head(view) for view in leaves["strong"].unbind(1)]
        strong, sample = F.normalize(torch.cat(heads), dim=-1), batch.sample_ids.repeat(2)
        fixed, images = FixedSimilarity(0.1), torch.zeros_like(sample)
        simclr = mp_nce(
            strong, sample, images, fixed, process_group=distributed.get_process_group()
        )
        pairs = (("contrastive", clip, ["weak", "texts"]), ("simclr", simclr, ["strong"]))
        for name, expected, leaf_names in pairs:
            inputs = [leaves[leaf_name] for leaf_name in leaf_names]
            term_gradients = [
                torch.autograd.grad(loss, inputs) for loss in (loss_terms[name], expected)
            ]
            gradients[name, gather_with_grad] = tuple(
                torch.cat([p.flatten() for p in gradient]) for gradient in term_gradients
            )
    torch.save(gradients, folder / f"{rank}.pt")


def test_gather_with_grad_changes_the_gradient_of_clip_alone(tmp_path, vocabulary):
    run_in_processes(2, compute_slip_gradients, tmp_path, vocabulary)
    for rank in (0, 1):
        gradients = torch.load(tmp_path / f"{rank}.pt")
        for actual, expected in gradients.values():
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)
        difference = gradients["contrastive", True][0] - gradients["contrastive", False][0]
        assert difference.abs().max() > 1e-3
        assert torch.equal(gradients["simclr", True][0], gradients["simclr", False][0])
