"""SigLIP's loss against its reference implementation and open_clip's."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import reference_losses
from tests.helpers.loss_batches import LargestTensor, build_pairs, value_and_gradients
from tests.helpers.process_group_jobs import open_clip_loss
from uniclip.losses.sigmoid import siglip_loss


def build_leaves(n, scale=20.0, bias=-8.0, dtype=torch.float64):
    """Return images, texts, scale and bias."""
    numbers = (torch.tensor(x, dtype=dtype).requires_grad_() for x in (scale, bias))
    rows = (r.detach().to(dtype).requires_grad_() for r in build_pairs(n))
    return (*rows, *numbers)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 64])
@pytest.mark.parametrize(("n", "scale", "bias"), [(1, 10, -10), (4, 1, 0), (7, 20, -8), (9, 90, 3)])
def test_siglip_equals_its_reference(n, scale, bias, chunk):
    leaves = build_leaves(n, float(scale), float(bias))
    value, gradients = value_and_gradients(siglip_loss(*leaves, chunk=chunk), *leaves)
    expected = value_and_gradients(reference_losses.siglip(*leaves), *leaves)
    torch.testing.assert_close(value, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [None, 5])
def test_siglip_is_open_clips(chunk, dtype):
    leaves = build_leaves(23, dtype=dtype)
    value = value_and_gradients(siglip_loss(*leaves, chunk=chunk), *leaves)
    expected = value_and_gradients(open_clip_loss().SigLipLoss()(*leaves), *leaves)
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk", [None, 3])
def test_scores_of_any_size_are_finite(chunk):
    leaves = build_leaves(7, 1e4, -1e4, torch.float32)
    value, gradients = value_and_gradients(siglip_loss(*leaves, chunk=chunk), *leaves)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_only_what_needs_a_gradient_has_one():
    image, text, scale, bias = build_leaves(5)
    loss = siglip_loss(image.detach(), text, scale.detach(), -8.0, chunk=2)
    (gradient,) = torch.autograd.grad(loss, [text])
    expected = value_and_gradients(siglip_loss(image, text, scale, bias), text)[1][0]
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)
    assert not siglip_loss(image.detach(), text.detach(), 1.0, 0.0, chunk=2).requires_grad


def test_the_streamed_form_holds_one_tile_of_scores():
    leaves = build_leaves(64)

    def measure(chunk):
        """Return the elements of the largest tensor, and of all that are kept for backward."""
        kept = []
        pack = (lambda tensor: kept.append(tensor.numel()) or tensor), (lambda tensor: tensor)
        with LargestTensor() as largest_tensor, torch.autograd.graph.saved_tensors_hooks(*pack):
            value_and_gradients(siglip_loss(*leaves, chunk=chunk), *leaves)
        return largest_tensor.largest, sum(kept)

    embeddings = leaves[0].numel()
    dense, streamed = measure(None), measure(8)
    assert min(dense) >= 64 * 64
    assert streamed[0] <= embeddings
    assert streamed[1] <= 3 * embeddings, "gradients of images, texts, scale and bias"


def test_siglip_rejects_wrong_shapes_and_dtypes():
    image, text, scale, bias = build_leaves(3)
    for rows in (text[:2], text.float()):
        with pytest.raises(ValueError, match="image and text must be"):
            siglip_loss(image, rows, scale, bias)
    with pytest.raises(ValueError, match="at least one pair"):
        siglip_loss(image[:0], text[:0], scale, bias)
