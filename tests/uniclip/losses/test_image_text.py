"""CLIP and UniCL against their reference implementations, each other and MP-NCE."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.helpers import reference_losses
from tests.helpers.loss_batches import build_pairs, value_and_gradients
from uniclip.losses.image_text import clip_loss, compute_class_means, image_to_text_loss, unicl_loss
from uniclip.losses.multi_positive import multi_positive
from uniclip.losses.similarity import SharedSimilarity

LABELS = [
    [-1, -1, -1, -1, -1],
    [0, 0, 1, 2, 0],
    [3, -1, 3, -1, 9],
    [5, 5, 5, 5, 5],
    [-1],
]


@pytest.mark.parametrize("labels", LABELS, ids=str)
@pytest.mark.parametrize("tau", [0.01, 0.07, 1.0])
def test_unicl_equals_its_reference(labels, tau):
    image, text = build_pairs(len(labels))
    labels = torch.tensor(labels)
    scale = torch.tensor(1 / tau, dtype=torch.float64, requires_grad=True)
    leaves = (image, text, scale)
    value, gradients = value_and_gradients(unicl_loss(image, text, labels, scale), *leaves)
    reference = reference_losses.unicl(image, text, labels, scale)
    expected, expected_gradients = value_and_gradients(reference, *leaves)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    for gradient, expected_gradient in zip(gradients, expected_gradients):
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("labels", [[-1] * 6, [4, 0, 2, 1, 7, 3], [4, -1, 2, -1, -1, 3]], ids=str)
def test_clip_is_unicl_without_shared_labels(labels):
    image, text = build_pairs(6)
    scale = torch.tensor(14.0, dtype=torch.float64, requires_grad=True)
    leaves = (image, text, scale)
    clip = value_and_gradients(clip_loss(image, text, scale), *leaves)
    unicl = value_and_gradients(unicl_loss(image, text, torch.tensor(labels), scale), *leaves)
    reference = value_and_gradients(
        reference_losses.unicl(image, text, torch.tensor(labels), scale), *leaves
    )
    for other in (unicl, reference):
        torch.testing.assert_close(clip, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 2])
def test_the_mean_of_both_directions_is_clip(chunk):
    image, text = build_pairs(5)
    scale = torch.tensor(14.0, dtype=torch.float64, requires_grad=True)
    direction = image_to_text_loss(image, text, scale, chunk=chunk)
    torch.testing.assert_close(direction, F.cross_entropy(scale * image @ text.T, torch.arange(5)))
    mean_of_directions = (direction + image_to_text_loss(text, image, scale, chunk=chunk)) / 2
    leaves = (image, text, scale)
    expected = value_and_gradients(clip_loss(*leaves), *leaves)
    torch.testing.assert_close(value_and_gradients(mean_of_directions, *leaves), expected)


def test_clip_is_mp_nce_with_negatives_of_the_positives_domain():
    # With the negatives of the positive's domain, one view and one scale, both losses are equal.
    image, text = build_pairs(7)
    z = torch.cat([image, text])
    sample, domain = torch.arange(7).repeat(2), torch.arange(2).repeat_interleave(7)
    shared = SharedSimilarity(0.1).double()
    loss = multi_positive(z, sample, domain, None, shared, negatives="domain")
    expected = clip_loss(image, text, shared.scales()[1])
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)


def test_clip_and_unicl_reject_wrong_shapes_and_dtypes():
    image, text = build_pairs(3)
    with pytest.raises(ValueError, match="image and text must be"):
        clip_loss(image, text[:2], 1.0)
    with pytest.raises(ValueError, match="image and text must be"):
        clip_loss(image, text.float(), 1.0)
    with pytest.raises(ValueError, match="image and text must be"):
        clip_loss(image.half(), text.half(), 1.0)
    with pytest.raises(ValueError, match="at least one pair"):
        clip_loss(image[:0], text[:0], 1.0)
    with pytest.raises(ValueError, match="at least one pair"):
        image_to_text_loss(image[:0], text[:0], 1.0)
    with pytest.raises(ValueError, match="labels must be int64"):
        unicl_loss(image, text, torch.zeros(3), 1.0)
    with pytest.raises(ValueError, match="labels must be int64"):
        unicl_loss(image, text, torch.zeros(2, dtype=torch.int64), 1.0)


def test_class_means_are_means_over_equal_labels_and_minus_one_is_alone():
    vectors = torch.arange(10, dtype=torch.float64).view(5, 2)
    means = compute_class_means(vectors, torch.tensor([4, -1, 4, -1, 9]))
    pair = vectors[[0, 2]].mean(0)
    torch.testing.assert_close(means, torch.stack([pair, vectors[1], pair, *vectors[3:]]))


@pytest.mark.parametrize("chunk", [None, 2, 3])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_image_to_text_equals_its_reference(n, chunk):
    image, text = build_pairs(n)
    scale = torch.tensor(14.0, dtype=torch.float64, requires_grad=True)
    leaves = (image, text, scale)
    expected = value_and_gradients(
        reference_losses.image_to_text(image, text, list(range(n)), scale), *leaves
    )
    loss = image_to_text_loss(image, text, scale, chunk=chunk)
    value, gradients = value_and_gradients(loss, *leaves)
    torch.testing.assert_close(value, expected[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected[1], rtol=1e-9, atol=1e-9)
