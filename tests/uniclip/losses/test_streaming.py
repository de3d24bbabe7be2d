"""Streamed losses: equal to the dense form and the reference, exact in float32, linear in
memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.helpers import reference_losses
from tests.helpers.loss_batches import (
    SWITCHES,
    WEIGHTS,
    LargestTensor,
    build_domain_similarity,
    build_pairs,
    build_view_embeddings,
    run_with_tile_sizes,
    tile_sizes,
    value_and_gradients,
)
from uniclip import numerics
from uniclip.losses import streaming
from uniclip.losses.image_text import clip_loss, unicl_loss
from uniclip.losses.multi_positive import mp_nce, multi_positive
from uniclip.losses.similarity import DomainSimilarity

many = settings(max_examples=80, deadline=None, derandomize=True)
temperature = st.floats(0.01, 1) | st.sampled_from([0.01, 0.07, 1.0])
offset = st.floats(-1, 1)


@st.composite
def batches(draw, most):
    """Draw z (a leaf), sample, domain and slot: any numbers of images and texts, in any order."""
    samples = draw(st.integers(1, most // 2))
    images, texts = draw(st.sampled_from([(2, 1), (1, 1), (3, 2), (2, 0), (0, 3), (1, 0)]))
    kinds = [(0, k) for k in range(images)] + [(1, images + k) for k in range(texts)]
    names = draw(st.lists(st.integers(0, 9), min_size=samples, max_size=samples))
    entries = [(s, d, k) for d, k in kinds for s in names][:most]
    if draw(st.booleans()):  # rows in any order, some missing
        entries = draw(st.permutations(entries))[: draw(st.integers(1, len(entries)))]
    width = draw(st.sampled_from([1, 2, 5]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    z = F.normalize(torch.randn(len(entries), width, generator=generator).double(), dim=1)
    if draw(st.booleans()):  # embeddings that are equal
        z = z[torch.randint(len(z), (len(z),), generator=generator)]
    return z.requires_grad_(), *(torch.tensor(ids) for ids in zip(*entries))


@st.composite
def switches(draw):
    names = ("denominator", "aggregate", "negatives")
    weights = draw(st.sampled_from(WEIGHTS) | st.tuples(*[st.floats(0, 4)] * 3))
    return dict(zip(names, draw(st.sampled_from(SWITCHES)))) | dict(weights=weights)


@st.composite
def similarities(draw):
    taus = [draw(temperature) for _ in range(3)]
    return build_domain_similarity(taus, (draw(offset), 0.0, draw(offset)))


def assert_equal(actual, expected):
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(actual[1], expected[1], strict=True):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9)


def family(batch, similarity, options):
    """Value and gradients of the family as a function of chunk."""
    leaves = (batch[0], similarity.log_scale, similarity.offset)
    return lambda chunk: value_and_gradients(
        multi_positive(*batch, similarity, chunk=chunk, **options), *leaves
    )


@given(batches(9), similarities(), switches(), tile_sizes())
@many
def test_streamed_equals_dense_and_reference(batch, similarity, options, sizes):
    leaves = (batch[0], similarity.log_scale, similarity.offset)
    reference = reference_losses.multi_positive(*batch, *leaves[1:], **options)
    expected = value_and_gradients(batch[0].sum() * 0 if reference is None else reference, *leaves)
    loss = family(batch, similarity, options)
    assert_equal(run_with_tile_sizes(sizes, loss), expected)
    assert_equal(loss(None), expected)


@given(batches(70), similarities(), switches(), tile_sizes())
@many
def test_many_uneven_tiles_equal_dense(batch, similarity, options, sizes):
    loss = family(batch, similarity, options)
    assert_equal(run_with_tile_sizes(sizes, loss), loss(None))


@pytest.mark.parametrize("options", SWITCHES, ids="-".join)
def test_one_sample_has_positives_and_no_negatives(options):
    ids = torch.zeros(3, dtype=torch.int64), torch.tensor([0, 0, 1]), torch.arange(3)
    batch = (torch.eye(3, dtype=torch.float64, requires_grad=True), *ids)
    options = dict(zip(("denominator", "aggregate", "negatives"), options))
    loss = family(batch, build_domain_similarity(), options)
    for chunk in (None, 1, 2, 5):
        value, gradients = loss(chunk)
        if options["denominator"] == "negatives" or options["aggregate"] == "inside":
            assert value == 0
            assert not gradients[0].any()
        else:  # each positive against the other one, as near as it is
            torch.testing.assert_close(value, torch.tensor(2.0).double().log())


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=7), temperature, tile_sizes())
@many
def test_streamed_unicl_and_clip_equal_dense_and_reference(labels, tau, sizes):
    image, text = build_pairs(len(labels), seed=len(labels))
    scale = torch.tensor(1 / tau, dtype=torch.float64, requires_grad=True)
    for ids, loss in ((torch.tensor(labels), unicl_loss), (torch.full((len(labels),), -1), None)):

        def compute(chunk, ids=ids, loss=loss):
            if loss is None:
                value = clip_loss(image, text, scale, chunk=chunk)
            else:
                value = loss(image, text, ids, scale, chunk=chunk)
            return value_and_gradients(value, image, text, scale)

        expected = value_and_gradients(
            reference_losses.unicl(image, text, ids, scale), image, text, scale
        )
        assert_equal(run_with_tile_sizes(sizes, compute), expected)
        assert_equal(compute(None), expected)


@given(st.integers(8, 60), st.integers(0, 99), temperature, tile_sizes())
@many
def test_streamed_unicl_equals_dense_over_many_tiles(n, seed, tau, sizes):
    image, text = build_pairs(n, seed)
    labels = torch.randint(-1, n // 2, (n,), generator=torch.Generator().manual_seed(seed))
    scale = torch.tensor(1 / tau, dtype=torch.float64, requires_grad=True)

    def compute(chunk):
        value = unicl_loss(image, text, labels, scale, chunk=chunk)
        return value_and_gradients(value, image, text, scale)

    assert_equal(run_with_tile_sizes(sizes, compute), compute(None))


# ---- float32 -------------------------------------------------------------------------------------


@pytest.fixture
def stable_calls(monkeypatch):
    """Return the calls that computed a running maximum for each row."""
    calls, compute_logsumexps = [], streaming._compute_stable_logsumexps

    def counted(*args):
        calls.append(1)
        return compute_logsumexps(*args)

    monkeypatch.setattr(streaming, "_compute_stable_logsumexps", counted)
    return calls


def random_rows(n=40, width=32):
    """Return unit rows in random directions: two views and a text of each sample."""
    generator = torch.Generator().manual_seed(3)
    z = F.normalize(torch.randn(3 * n, width, generator=generator), dim=1)
    return z, torch.arange(n).repeat(3), (torch.arange(3 * n) >= 2 * n).long()


def opposite_rows():
    """Return rows of which the first sample's are opposite to all others, which are close."""
    z, sample, domain = random_rows()
    z = F.normalize(0.05 * z + 1, dim=1)
    z[sample == 0] *= -1
    return z, sample, domain


def half_opposite_rows():
    """As `opposite_rows`, at a cosine whose shifted exponential keeps one or two digits."""
    z, sample, domain = opposite_rows()
    middle = F.normalize(z[sample != 0].mean(0), dim=0)
    aside = F.normalize(torch.linalg.qr(torch.stack([middle, z[3], z[4]], 1))[0][:, 2], dim=0)
    z[sample == 0] = -0.7 * middle + 0.51**0.5 * aside
    return z, sample, domain


def long_rows():
    """Return rows of length 4."""
    z, sample, domain = random_rows()
    return 4 * z, sample, domain


FLOAT32 = {
    "as they are": (random_rows, (0.07, 0.1, 1.0), False),
    "shifted": (random_rows, (0.01, 0.01, 0.01), False),
    "shifted, one pair of domains alone": (random_rows, (0.01, 0.07, 1.0), False),
    "negatives point away": (opposite_rows, (0.01, 0.01, 0.01), True),
    "negatives point half away": (half_opposite_rows, (0.01, 0.01, 0.01), True),
    "negatives point away, warm": (opposite_rows, (0.07, 0.07, 0.07), False),
    "very cold": (random_rows, (0.001, 0.002, 0.003), True),
    "long rows": (long_rows, (0.02, 0.02, 0.02), True),
}


def float32_and_float64(batch, taus, chunk, loss=mp_nce):
    results = []
    for dtype, size in ((torch.float32, chunk), (torch.float64, None)):
        z, sample, domain = batch()
        z = z.to(dtype).requires_grad_()
        similarity = build_domain_similarity(taus, (0.1, 0.0, -0.2), dtype)
        value = loss(z, sample, domain, similarity, chunk=size)
        results.append(value_and_gradients(value, z, *similarity.parameters()))
    return results


def relative_errors(actual, expected):
    """Of the value and of each gradient, against its largest number."""
    numbers = [(actual[0], expected[0]), *zip(actual[1], expected[1])]
    return [float((f.double() - e).abs().max() / e.abs().max()) for f, e in numbers]


@pytest.mark.parametrize("name", FLOAT32)
@pytest.mark.parametrize("chunk", [7, 1000])
def test_float32_is_as_exact_as_the_scores(name, chunk, stable_calls):
    batch, taus, is_stable = FLOAT32[name]
    actual, expected = float32_and_float64(batch, taus, chunk)
    assert all(number.isfinite().all() for number in (actual[0], *actual[1]))
    longest = float(batch()[0].square().sum(1).max())
    allowed = 1e-6 * max(longest / min(taus), 10)  # a few times the rounding of a score
    assert max(relative_errors(actual, expected)) < allowed
    assert len(stable_calls) == is_stable


def test_without_the_running_maximum_sums_underflow(monkeypatch):
    """The cases above need it."""
    monkeypatch.setattr(streaming, "_sums_are_accurate", lambda sums, layout: True)
    for name in [name for name, (_, _, is_stable) in FLOAT32.items() if is_stable]:
        actual, expected = float32_and_float64(*FLOAT32[name][:2], 7)
        assert not all(error < 1e-3 for error in relative_errors(actual, expected))


def test_a_shift_is_taken_only_where_scores_could_overflow():
    z, _, _ = random_rows()
    assert streaming._read_scales(z, torch.tensor([14.0, 60.0, 1.0])) == ([14, 60, 1], [0, 0, 0])
    scales = torch.tensor([100.0, 14.0, 1.0])
    shift = streaming._read_scales(z, scales)[1]
    assert shift[0] == pytest.approx(30, abs=1e-3)
    assert shift[1:] == [0, 0]
    assert streaming._read_scales(z.double(), scales.double())[1] == [0, 0, 0]


@pytest.mark.parametrize("tau", [1e-3, 0.01, 0.07, 1.0])
def test_clip_in_float32_at_every_temperature(tau):
    results = []
    for dtype, chunk in ((torch.float32, 16), (torch.float64, None)):
        z = random_rows()[0].to(dtype)
        image, text = z[:40].requires_grad_(), (z[:40] * -1 + 0.1 * z[40:80]).requires_grad_()
        scale = torch.tensor(1 / tau, dtype=dtype, requires_grad=True)
        value = clip_loss(image, text, scale, chunk=chunk)
        results.append(value_and_gradients(value, image, text, scale))
    assert all(number.isfinite().all() for number in (results[0][0], *results[0][1]))
    assert max(relative_errors(*results)) < 1e-6 * max(1 / tau, 10)


@pytest.mark.parametrize("tau", [1e-3, 0.01, 1.0])
def test_opposite_and_equal_rows_overflow_nothing(tau):
    for sign in ([1, 1, 1], [1, -1, 1], [1, -1, -1]):
        z, sample, domain = random_rows(5)
        z = (z[:1] * torch.tensor(sign).repeat_interleave(5)[:, None]).requires_grad_()
        similarity = build_domain_similarity([tau] * 3, (1.0, 0.0, -1.0), torch.float32)
        loss = mp_nce(z, sample, domain, similarity, chunk=4)
        value, gradients = value_and_gradients(loss, z, *similarity.parameters())
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_nan_embedding_makes_the_loss_nan():
    for chunk in (None, 7):
        z, sample, domain = random_rows()
        z[5] = torch.nan
        assert mp_nce(z, sample, domain, DomainSimilarity(), chunk=chunk).isnan()


# ---- derivatives and memory ----------------------------------------------------------------------


@pytest.mark.parametrize("options", SWITCHES, ids="-".join)
def test_gradients_equal_finite_differences(options):
    z, sample, domain, slot = build_view_embeddings(3, 2)
    options = dict(zip(("denominator", "aggregate", "negatives"), options))

    def loss(z, log_scale, offset):
        similarity = DomainSimilarity().double()
        del similarity.log_scale, similarity.offset
        similarity.log_scale, similarity.offset = log_scale, offset
        return multi_positive(z, sample, domain, slot, similarity, chunk=2, **options)

    numbers = ([0.5, 1.0, 1.5], [0.2, 0.0, -0.3])
    leaves = (torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in numbers)
    assert torch.autograd.gradcheck(loss, (z, *leaves))


def test_second_derivatives_are_refused():
    z, sample, domain, _ = build_view_embeddings(3, 2)
    loss = mp_nce(z, sample, domain, build_domain_similarity(), chunk=2)
    (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_non_contiguous_rows_and_frozen_parameters():
    z, sample, domain, _ = build_view_embeddings(6, 2)
    similarity = build_domain_similarity()
    expected = torch.autograd.grad(mp_nce(z, sample, domain, similarity), z)[0]
    turned = z.detach().T.contiguous().T.requires_grad_()
    similarity.requires_grad_(False)
    loss = mp_nce(turned, sample, domain, similarity, chunk=4)
    torch.testing.assert_close(torch.autograd.grad(loss, turned)[0], expected)
    similarity.requires_grad_(True)
    mp_nce(z.detach(), sample, domain, similarity, chunk=4).backward()
    assert similarity.log_scale.grad.abs().max() > 0


def largest_and_saved(n, chunk, loss):
    """Return the elements of the largest tensor of a loss and its gradients, and of all saved
    ones."""
    saved_sizes = []
    with LargestTensor() as largest_tensor:
        pack = (
            (lambda tensor: saved_sizes.append(tensor.numel()) or tensor),
            (lambda tensor: tensor),
        )
        with torch.autograd.graph.saved_tensors_hooks(*pack):
            value = loss(n, chunk)
        value.backward()
    return largest_tensor.largest, sum(saved_sizes)


def mp_nce_of(n, chunk):
    z, sample, domain, _ = build_view_embeddings(n, 2)
    return mp_nce(z, sample, domain, build_domain_similarity(), chunk=chunk)


def by_slot_of(n, chunk):
    z, sample, domain, slot = build_view_embeddings(n, 2)
    similarity = build_domain_similarity()
    return multi_positive(z, sample, domain, slot, similarity, negatives="slot", chunk=chunk)


def clip_of(n, chunk):
    return clip_loss(*build_pairs(n), 14.0, chunk=chunk)


def unicl_of(n, chunk):
    return unicl_loss(*build_pairs(n), torch.arange(n) % 7 - 1, 14.0, chunk=chunk)


@pytest.mark.parametrize("loss", [mp_nce_of, by_slot_of, clip_of, unicl_of])
def test_no_tensor_of_all_pairs_is_created_or_saved(loss):
    few, many = (largest_and_saved(n, 8, loss) for n in (64, 128))
    assert few[0] < 64 * 64 <= largest_and_saved(64, None, loss)[0]
    for once, twice in zip(few, many):
        assert twice <= 2 * once  # in step with the rows, not with their square


def test_the_running_maximum_creates_no_tensor_of_all_pairs(stable_calls):
    def cold(n, chunk):
        z, sample, domain, _ = build_view_embeddings(n, 2)
        return mp_nce(z, sample, domain, build_domain_similarity([1e-4] * 3), chunk=chunk)

    assert largest_and_saved(64, 8, cold)[0] < 64 * 64
    assert stable_calls


def test_chunks_larger_than_the_batch_are_one_tile():
    z, sample, domain, _ = build_view_embeddings(4, 2)
    losses = [
        mp_nce(z, sample, domain, build_domain_similarity(), chunk=c) for c in (12, 13, 10**9)
    ]
    assert losses[0] == losses[1] == losses[2]


def test_scores_are_computed_in_full_float32_again_in_the_backward_pass(monkeypatch):
    """It runs when the context of the loss has ended."""
    precisions, iterate = [], streaming._iterate_scores

    def record(*arguments):
        precisions.append(torch.get_float32_matmul_precision())
        return iterate(*arguments)

    monkeypatch.setattr(streaming, "_iterate_scores", record)
    numerics.apply(1, "fast")
    with numerics.full_float32_products():
        loss = clip_loss(*build_pairs(8), 14.0, chunk=4)
    num_calls = len(precisions)
    loss.backward()
    assert 0 < num_calls < len(precisions)
    assert set(precisions) == {"highest"}
    assert torch.get_float32_matmul_precision() == "high"
