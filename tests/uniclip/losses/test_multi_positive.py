"""Multi-positive losses against the reference, against each other, and at extreme values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import reference_losses
from tests.helpers.loss_batches import (
    IDS,
    SIMILARITY_SETTINGS,
    SWITCHES,
    WEIGHTS,
    WIDTH,
    LargestTensor,
    build_domain_similarity,
    build_embeddings,
    build_view_embeddings,
    value_and_gradients,
)
from uniclip.config.losses import MULTI_POSITIVE_LOSSES
from uniclip.losses.image_text import clip_loss
from uniclip.losses.multi_positive import (
    compute_named_loss,
    mil_nce,
    mp_nce,
    multi_positive,
    multi_view_info_nce,
    sup_con,
)
from uniclip.losses.similarity import DomainSimilarity


def assert_equal_to_reference(entries, switches, weights, setting, chunk=None, seed=0):
    denominator, aggregate, negatives = switches
    z, sample, domain, slot = build_embeddings(entries, seed)
    similarity = build_domain_similarity(*setting)
    leaves = (z, similarity.log_scale, similarity.offset)
    options = dict(
        denominator=denominator, aggregate=aggregate, negatives=negatives, weights=weights
    )
    loss = multi_positive(z, sample, domain, slot, similarity, chunk=chunk, **options)
    reference = reference_losses.multi_positive(z, sample, domain, slot, *leaves[1:], **options)
    reference = z.sum() * 0 if reference is None else reference
    value, gradients = value_and_gradients(loss, *leaves)
    expected, expected_gradients = value_and_gradients(reference, *leaves)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
@pytest.mark.parametrize("switches", SWITCHES, ids="-".join)
def test_every_combination_of_switches_equals_the_reference(switches, weights):
    for i, entries in enumerate(IDS.values()):
        assert_equal_to_reference(entries, switches, weights, SIMILARITY_SETTINGS[i % 3], seed=i)


@pytest.mark.parametrize("setting", SIMILARITY_SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["two views", "duplicates", "uneven"])
def test_temperatures_and_offsets_equal_the_reference(name, setting):
    for switches in SWITCHES:
        assert_equal_to_reference(IDS[name], switches, "balanced", setting)


@pytest.mark.parametrize("chunk", [1, 2, 4, 7, 100])
@pytest.mark.parametrize("switches", SWITCHES, ids="-".join)
def test_tiles_equal_the_reference(switches, chunk):
    assert_equal_to_reference(
        IDS["uneven"], switches, (2.0, 0.5, 3.0), SIMILARITY_SETTINGS[1], chunk=chunk
    )


entry = st.tuples(st.integers(-2, 2), st.integers(0, 1), st.integers(0, 2))


@given(
    entries=st.lists(entry, min_size=1, max_size=7),
    switches=st.sampled_from(SWITCHES),
    weights=st.sampled_from(WEIGHTS) | st.tuples(*[st.floats(0, 4)] * 3),
    taus=st.tuples(*[st.floats(0.01, 1)] * 3),
    offsets=st.tuples(st.floats(-1, 1), st.just(0.0), st.floats(-1, 1)),
    chunk=st.sampled_from([None, 1, 3]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_batch_equals_the_reference(entries, switches, weights, taus, offsets, chunk):
    assert_equal_to_reference(entries, switches, weights, (taus, offsets), chunk)


def test_named_losses_are_multi_positive_with_their_switches():
    z, sample, domain, slot = build_view_embeddings(4, 2)
    similarity = build_domain_similarity(*SIMILARITY_SETTINGS[1])
    inputs = (z, sample, domain, slot, similarity)
    all_positives = dict(denominator="all")
    for member, weights in ((mp_nce, "uniform"), (mp_nce, (0, 1, 1))):
        alone = member(z, sample, domain, similarity, weights)
        assert torch.equal(alone, multi_positive(*inputs, weights=weights))
    assert torch.equal(
        sup_con(z, sample, domain, similarity), multi_positive(*inputs, **all_positives)
    )
    inside = multi_positive(*inputs, aggregate="inside", **all_positives)
    assert torch.equal(mil_nce(z, sample, domain, similarity), inside)
    by_slot = multi_positive(*inputs, negatives="slot", weights="uniform")
    assert torch.equal(multi_view_info_nce(*inputs), by_slot)


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_with_one_positive_three_losses_are_equal_bit_for_bit(dtype, chunk):
    results = []
    for member in (mp_nce, sup_con, mil_nce):
        z, sample, domain, _ = build_view_embeddings(13, 1, dtype=dtype)
        similarity = build_domain_similarity((0.02, 0.1, 0.4), (0.3, 0.0, -0.2), dtype)
        loss = member(z, sample, domain, similarity, chunk=chunk)
        value, gradients = value_and_gradients(loss, z, *similarity.parameters())
        results.append((value, *gradients))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    assert results[0][1].abs().max() > 0


def test_with_two_positives_three_losses_differ():
    z, sample, domain, _ = build_view_embeddings(5, 2)
    similarity = build_domain_similarity()
    losses = (mp_nce, sup_con, mil_nce)
    values = {loss(z, sample, domain, similarity).item() for loss in losses}
    assert len(values) == 3


def test_multi_view_info_nce_is_the_mean_of_n_by_n_cross_entropies():
    z, sample, domain, slot = build_view_embeddings(6, 2)
    similarity = build_domain_similarity((0.1, 0.2, 0.3), (0.5, 0.0, 0.5))
    blocks = z.view(3, 6, WIDTH)
    targets = torch.arange(6)
    terms = []
    for a in range(3):
        for b in range(3):
            if a != b:
                tau = 0.1 if max(a, b) < 2 else 0.2
                terms.append(F.cross_entropy(blocks[a] @ blocks[b].T / tau, targets))
    loss = multi_view_info_nce(z, sample, domain, slot, similarity)
    torch.testing.assert_close(loss, torch.stack(terms).mean(), rtol=1e-12, atol=1e-12)
    # One domain pair in each denominator: the offset cancels.
    assert torch.autograd.grad(loss, similarity.offset)[0].abs().max() < 1e-12


def test_without_image_image_positives_images_are_still_negatives():
    z, sample, domain, _ = build_view_embeddings(4, 2)
    similarity = build_domain_similarity()
    loss = mp_nce(z, sample, domain, similarity, weights=(0, 1, 1))
    gradient = torch.autograd.grad(loss, similarity.log_scale)[0]
    assert gradient[0].abs() > 1e-6
    assert_equal_to_reference(
        IDS["two views"], SWITCHES[0], (0.0, 1.0, 1.0), SIMILARITY_SETTINGS[2]
    )


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("loss", [mp_nce, sup_con, mil_nce])
def test_no_positive_gives_zero_with_zero_gradients(loss, chunk):
    z, sample, domain, _ = build_embeddings([(1, 0, 0), (2, 0, 0), (3, 1, 1)])
    for weights, ids in (("balanced", sample), ((1, 0, 1), torch.tensor([1, 2, 1]))):
        similarity = build_domain_similarity()
        value = loss(z, ids, domain, similarity, weights=weights, chunk=chunk)
        value.backward()
        assert value == 0
        for leaf in (z, similarity.log_scale, similarity.offset):
            assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_only_equality_of_sample_ids_matters_and_rows_have_no_order():
    z, sample, domain, slot = build_view_embeddings(5, 2)
    similarity = build_domain_similarity(*SIMILARITY_SETTINGS[1])
    renamed = torch.tensor([-(2**63), 2**63 - 1, 0, 12, -1])[sample]
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    for loss in (mp_nce, sup_con, mil_nce):
        value = loss(z, sample, domain, similarity)
        assert torch.equal(loss(z, renamed, domain, similarity), value)
        moved = loss(z[order], sample[order], domain[order], similarity)
        torch.testing.assert_close(moved, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
@pytest.mark.parametrize("name", list(IDS))
def test_nothing_overflows(name, tau, dtype):
    for switches in SWITCHES:
        z, sample, domain, slot = build_embeddings(IDS[name], dtype=dtype)
        with torch.no_grad():
            z[:] = F.normalize(z[:1] * torch.sign(z[:, :1]), dim=1)  # every cosine is 1 or -1
        similarity = build_domain_similarity([tau] * 3, (1.0, 0.0, -1.0), dtype)
        options = dict(zip(("denominator", "aggregate", "negatives"), switches))
        loss = multi_positive(z, sample, domain, slot, similarity, **options)
        value, gradients = value_and_gradients(loss, z, *similarity.parameters())
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_float32_agrees_with_float64():
    # The same embeddings in both precisions, rounded.
    z, sample, domain, _ = build_view_embeddings(40, 2)
    expected = mp_nce(z, sample, domain, build_domain_similarity(*SIMILARITY_SETTINGS[1]))
    single = build_domain_similarity(*SIMILARITY_SETTINGS[1], dtype=torch.float32)
    loss = mp_nce(z.float(), sample, domain, single)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("switches", SWITCHES, ids="-".join)
def test_second_derivatives_exist(switches):
    z, sample, domain, slot = build_view_embeddings(2, 2)
    options = dict(zip(("denominator", "aggregate", "negatives"), switches))

    def loss(z, log_scale, offset):
        similarity = DomainSimilarity().double()
        leaves = {"log_scale": log_scale, "offset": offset}
        return torch.func.functional_call(
            LossModule(similarity, lambda s: multi_positive(z, sample, domain, slot, s, **options)),
            {f"similarity.{name}": leaf for name, leaf in leaves.items()},
        )

    leaves = (
        z,
        torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64, requires_grad=True),
        torch.tensor([0.2, 0.0, -0.3], dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)


class LossModule(torch.nn.Module):
    """A loss as a module, so that `functional_call` can replace the similarity's parameters."""

    def __init__(self, similarity, loss):
        super().__init__()
        self.similarity, self.loss = similarity, loss

    def forward(self):
        return self.loss(self.similarity)


@pytest.mark.parametrize("chunk", [None, 8])
def test_tiles_bound_the_largest_tensor_and_the_saved_memory(chunk):
    z, sample, domain, _ = build_view_embeddings(48, 2)
    rows, similarity, saved_sizes = len(z), build_domain_similarity(), []

    def pack(tensor):
        saved_sizes.append(tensor.numel())
        return tensor

    with LargestTensor() as largest_tensor:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = mp_nce(z, sample, domain, similarity, chunk=chunk)
        loss.backward()
    half_matrix = rows * rows // 2  # the images' block is two thirds of the columns
    assert (largest_tensor.largest < half_matrix) is (chunk is not None)
    assert (sum(saved_sizes) < half_matrix) is (chunk is not None)


@pytest.mark.parametrize("chunk", [None, 5])
def test_losses_are_not_autocast(chunk):
    z, sample, domain, _ = build_view_embeddings(8, 2, dtype=torch.float32)
    similarity = DomainSimilarity()
    expected = mp_nce(z, sample, domain, similarity, chunk=chunk)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mp_nce(z, sample, domain, similarity, chunk=chunk), expected)
        inside = clip_loss(z[:8], z[8:16], 14.0, chunk=chunk)
    assert torch.equal(inside, clip_loss(z[:8], z[8:16], 14.0, chunk=chunk))


LONG = torch.zeros(3, dtype=torch.int64)
INVALID_ARGUMENTS = [
    (dict(aggregate="inside"), "aggregate='inside' needs"),
    (dict(aggregate="inside", denominator="all", negatives="slot"), "aggregate='inside' needs"),
    (dict(denominator="positives"), "denominator must be one of"),
    (dict(aggregate="mean"), "aggregate must be one of"),
    (dict(negatives="hard"), "negatives must be one of"),
    (dict(negatives="slot", slot=None), "needs the slot"),
    (dict(chunk=0), "chunk must be"),
    (dict(chunk=2.5), "chunk must be"),
    (dict(weights="equal"), "weights must be"),
    (dict(weights=(1, 2)), "weights must be"),
    (dict(weights=(1, -1, 1)), "weights must be"),
    (dict(weights=(1, math.nan, 1)), "weights must be"),
    (dict(z=torch.zeros(3)), "z must be"),
    (dict(z=torch.zeros(3, 2, dtype=torch.float16)), "z must be"),
    (dict(sample=LONG[:2]), "sample must be int64"),
    (dict(sample=LONG.float()), "sample must be int64"),
    (dict(domain=LONG.int()), "domain must be int64"),
    (dict(domain=LONG + 2), "domain must hold 0"),
    (dict(slot=LONG[:1]), "slot must be int64"),
]


@pytest.mark.parametrize(("changed", "message"), INVALID_ARGUMENTS, ids=lambda x: str(x)[:40])
def test_invalid_arguments_are_rejected(changed, message):
    ids = dict(sample=LONG, domain=LONG, slot=LONG)
    inputs = dict(z=torch.eye(3), similarity=DomainSimilarity(), **ids)
    with pytest.raises(ValueError, match=message):
        multi_positive(**{**inputs, **changed})


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("name", MULTI_POSITIVE_LOSSES)
def test_each_member_by_name_equals_the_reference(name, chunk):
    z, sample, domain, slot = build_embeddings(IDS["uneven"])
    similarity = build_domain_similarity(*SIMILARITY_SETTINGS[1])
    switches = MULTI_POSITIVE_LOSSES[name]
    reference = reference_losses.multi_positive(
        *(z, sample, domain, slot, similarity.log_scale, similarity.offset),
        denominator=switches.denominator,
        aggregate=switches.aggregate,
        negatives=switches.negatives or "all",
        weights="balanced",
    )
    loss = compute_named_loss(name, z, sample, domain, slot, similarity, chunk=chunk)
    torch.testing.assert_close(loss, reference, rtol=1e-12, atol=1e-12)
