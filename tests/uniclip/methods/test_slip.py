"""SLIP against its definition, in one process and over two."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.helpers.distributed_training import together
from tests.helpers.small_models import (
    build_batch,
    build_method_and_embedder,
)
from tests.helpers.small_runs import of_method
from uniclip import distributed
from uniclip.losses.image_text import clip_loss
from uniclip.losses.multi_positive import mp_nce
from uniclip.losses.similarity import FixedSimilarity


def close(given, expected):
    torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


def nt_xent(one, two, temperature):
    """SimCLR's loss as its paper writes it: 2N anchors, one positive, 2N - 2 negatives each."""
    rows, n = torch.cat([one, two]), len(one)
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
    parts = method.compute_loss_terms(embedder.train(), batch)
    weak = embedder.encode_image(batch.images[0], batch.augmentation_vectors[0])
    close(parts["contrastive"], clip_loss(weak, embedder.encode_text(batch.tokens), 1 / 0.07))
    # As in SLIP's models.py: the head is called for each view, so that a view's statistics are its
    # own.
    strong = [
        F.normalize(method.ssl_head(embedder.compute_image_features(v)), dim=-1)
        for v in batch.images[1:]
    ]
    close(parts["simclr"], nt_xent(*strong, 0.1))
    close(method.sum_loss_terms(parts), parts["contrastive"] + 0.5 * parts["simclr"])


def slip_pulls(rank, folder, words):
    """What SLIP's two losses pull at what was embedded, and by hand; with and without remote."""
    found = {}
    for remote in (True, False):
        config = of_method("slip", method={"gather_with_grad": remote})
        method, embedder = build_method_and_embedder(config, words)
        batch = build_batch(words, 3)
        given = method.embed(embedder, batch)
        mine = slice(rank * 3, rank * 3 + 3)
        object.__setattr__(batch, "sample_ids", batch.sample_ids[mine])
        leaves = {name: rows[mine].detach().requires_grad_() for name, rows in given.items()}
        parts = method.compute_terms_from_embeddings(leaves, batch)
        scale, group = 1 / 0.07, distributed.get_process_group(remote)
        clip = clip_loss(leaves["weak"], leaves["texts"], scale, process_group=group)
        heads = [method.ssl_head(view) for view in leaves["strong"].unbind(1)]
        strong, sample = F.normalize(torch.cat(heads), dim=-1), batch.sample_ids.repeat(2)
        fixed, images = FixedSimilarity(0.1), torch.zeros_like(sample)
        simclr = mp_nce(
            strong, sample, images, fixed, process_group=distributed.get_process_group()
        )
        pairs = (("contrastive", clip, ["weak", "texts"]), ("simclr", simclr, ["strong"]))
        for part, by_hand, names in pairs:
            of = [leaves[name] for name in names]
            pulls = [torch.autograd.grad(loss, of) for loss in (parts[part], by_hand)]
            found[part, remote] = tuple(torch.cat([p.flatten() for p in pull]) for pull in pulls)
    torch.save(found, folder / f"{rank}.pt")


def test_slip_drops_remote_gradients_of_clip_alone_and_where_asked(tmp_path, vocabulary):
    together(2, slip_pulls, tmp_path, vocabulary)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for given, by_hand in found.values():
            torch.testing.assert_close(given, by_hand, rtol=1e-4, atol=1e-6)
        apart = found["contrastive", True][0] - found["contrastive", False][0]
        assert apart.abs().max() > 1e-3
        assert torch.equal(found["simclr", True][0], found["simclr", False][0])
