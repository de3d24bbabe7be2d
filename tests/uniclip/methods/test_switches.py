"""Each switch of a method acts: its loss is that of the pure functions, told so by hand.

Every case is also apart from the method's default, which is what a switch that nobody reads gives.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.distributed_training import together
from tests.helpers.small_runs import of_method
from tests.uniclip.methods.test_uniclip import batch_of, pooled, set_up, vocabulary  # noqa: F401 - a fixture
from tests.uniclip.models.test_embedder import aware
from uniclip import distributed
from uniclip.augmentation import transform
from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.losses.multi_positive import mp_nce, multi_positive
from uniclip.losses.similarity import DomainSimilarity, FixedSimilarity

LOGS, SHIFTS = (1.0, 2.0, 3.0), (0.4, 0.0, -0.3)
"""Of II, IT and TT: what a similarity may have learnt."""
JITTER = ("jittered", "brightness", "contrast", "saturation", "hue")


def similarity(logs=LOGS, shifts=SHIFTS):
    """Scores with these temperatures and offsets, whatever the method calls them."""
    told = DomainSimilarity()
    with torch.no_grad():
        told.log_scale.copy_(torch.tensor(logs))
        told.offset.copy_(torch.tensor(shifts))
    return told


def learnt(method):
    """The method with all that its similarity can learn away from where it starts."""
    with torch.no_grad():
        leaf = method.similarity.log_scale
        leaf.copy_(torch.tensor(LOGS) if leaf.ndim else torch.tensor(LOGS[1]))
        if hasattr(method.similarity, "offset"):
            method.similarity.offset.copy_(torch.tensor(SHIFTS))
    return method


def contrast(rows, scores=None, **switches):
    z, sample, domain, slot = rows
    return multi_positive(z, sample, domain, slot, scores or similarity(), **switches)


def with_images(rows, images):
    """A pool whose pictures are others."""
    z, *ids = rows
    return torch.cat([images, z[len(images) :]]), *ids


def met(embedder, batch, block):
    """Unit rows of the pictures, with `block` in place of the head's one residual block."""
    features, vectors = embedder.trunk(batch.pixels.flatten(0, 1)), batch.vectors.flatten(0, 1)
    hidden = embedder.image_head.project(features)
    return F.normalize(block(embedder.image_head.blocks[0], hidden, embedder, vectors), dim=-1)


def film(block, hidden, embedder, vectors):
    gamma, beta = block.modulate(embedder.augmentation_encoder(vectors)).chunk(2, dim=-1)
    hidden = (1 + gamma) * block.norm(hidden) + beta
    return hidden + block.mlp(hidden)


def concat(block, hidden, embedder, vectors):
    features = embedder.augmentation_encoder(vectors)
    return hidden + block.join(torch.cat([block.norm(hidden), features], dim=-1))


def plain(block, hidden, embedder, vectors):
    hidden = block.norm(hidden)
    return hidden + block.mlp(hidden)


def kept(batch, *names):
    """The vectors with all but the numbers called `names` at "nothing done"."""
    keeps = [name in names for name in transform.VECTOR_COLUMNS]
    return batch.vectors * torch.tensor(keeps)


def fused(block):
    def expected(embedder, batch):
        rows = pooled(embedder, batch)
        return contrast(with_images(rows, met(embedder, batch, block)))

    return expected


def of_rows(scores=None, **switches):
    return lambda embedder, batch: contrast(pooled(embedder, batch), scores, **switches)


def of_vectors(change):
    return lambda embedder, batch: contrast(pooled(embedder, batch, change(batch)))


SWITCHED = {
    "film": ({}, fused(film)),
    "concat": ({"fusion": "concat"}, fused(concat)),
    "no f_A": ({"aware": "none"}, fused(plain)),
    "told nothing": ({"aware": "identity"}, of_vectors(lambda b: torch.zeros_like(b.vectors))),
    "another's": ({"aware": "shuffled"}, of_vectors(lambda b: b.vectors.roll(1, dims=1))),
    "told of flips": ({"told": ["flip"]}, of_vectors(lambda b: kept(b, "flip"))),
    "told of colours": (
        {"told": ["jitter", "grey"]},
        of_vectors(lambda b: kept(b, *JITTER, "grey")),
    ),
    "temperatures": ({"similarity": "temperatures"}, of_rows(similarity(shifts=(0, 0, 0)))),
    "offsets": ({"similarity": "offsets"}, of_rows(similarity(logs=(1, 1, 1)))),
    "shared": ({"similarity": "shared"}, of_rows(similarity((2, 2, 2), (0, 0, 0)))),
    "by domain": ({"negatives": "domain"}, of_rows(negatives="domain")),
    "by slot": ({"negatives": "slot"}, of_rows(negatives="slot")),
    "no text of a text": ({"negatives": "not_text_text"}, of_rows(negatives="not_text_text")),
    "sup_con by slot": (
        {"loss": "sup_con", "negatives": "slot"},
        of_rows(negatives="slot", denominator="all"),
    ),
}
"""The method's options, and its loss by hand."""


@pytest.mark.parametrize("name", SWITCHED)
def test_a_switch_of_uniclip_acts(vocabulary, name):  # noqa: F811
    options, expected = SWITCHED[name]
    method, embedder = set_up(aware(**options), vocabulary)
    batch = batch_of(vocabulary)
    given = learnt(method).compute_loss_terms(embedder, batch)["contrastive"]
    embedder.mask_input, embedder.column_mask = (
        False,
        None,
    )  # by hand the vectors are as they are said to be
    torch.testing.assert_close(given, expected(embedder, batch), rtol=1e-5, atol=1e-5)
    default, whole = set_up(aware(), vocabulary)
    as_default = learnt(default).compute_loss_terms(whole, batch)["contrastive"]
    assert ((given - as_default).abs() > 1e-4) == (options != {})


CAPTION_LABELS = {True: [7, 5, 8, 7, 5, 5], False: [-1, 5, -1, -1, 5, 5]}
"""By equal_captions, where samples i and i + 3 have one caption and 1, 4 and 5 a label."""


def captioned(vocabulary, asked):  # noqa: F811
    method, embedder = set_up(of_method("unicl", method={"equal_captions": asked}), vocabulary)
    batch = batch_of(vocabulary, 1)
    object.__setattr__(batch, "label", torch.tensor(CAPTION_LABELS[False]))
    return method, embedder, batch


def test_unicl_makes_equal_captions_positives_where_it_is_asked_to(vocabulary):  # noqa: F811
    generator = torch.Generator().manual_seed(0)
    image, text = F.normalize(torch.randn(2, 6, 8, generator=generator), dim=-1)
    losses = {}
    for asked, labels in CAPTION_LABELS.items():
        method, _, batch = captioned(vocabulary, asked)
        expected = unicl_loss(image, text, torch.tensor(labels), torch.e)
        given = method.compute_terms_from_embeddings(
            {"images": image[:, None], "texts": text}, batch
        )
        losses[asked] = given["contrastive"]
        torch.testing.assert_close(losses[asked], expected, rtol=1e-5, atol=1e-5)
    assert (losses[True] - losses[False]).abs() > 1e-4


def test_equal_captions_that_are_embedded_alike_pull_as_pairs_do(vocabulary):  # noqa: F811
    found = []
    for asked in CAPTION_LABELS:
        method, embedder, batch = captioned(vocabulary, asked)
        loss = method.sum_loss_terms(method.compute_loss_terms(embedder, batch))
        pulls = torch.autograd.grad(loss, list(embedder.parameters()), materialize_grads=True)
        found.append([loss.detach(), *pulls])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


# ---- over processes ------------------------------------------------------------------------------


def slip_pulls(rank, folder, words):
    """What SLIP's two losses pull at what was embedded, and by hand; with and without remote."""
    found = {}
    for remote in (True, False):
        config = of_method("slip", method={"remote_gradients": remote})
        method, embedder = set_up(config, words)
        batch = batch_of(words, 3)
        given = method.embed(embedder, batch)
        mine = slice(rank * 3, rank * 3 + 3)
        object.__setattr__(batch, "sample", batch.sample_ids[mine])
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


def test_slip_drops_remote_gradients_of_clip_alone_and_where_asked(tmp_path, vocabulary):  # noqa: F811
    together(2, slip_pulls, tmp_path, vocabulary)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for given, by_hand in found.values():
            torch.testing.assert_close(given, by_hand, rtol=1e-4, atol=1e-6)
        apart = found["contrastive", True][0] - found["contrastive", False][0]
        assert apart.abs().max() > 1e-3
        assert torch.equal(found["simclr", True][0], found["simclr", False][0])
