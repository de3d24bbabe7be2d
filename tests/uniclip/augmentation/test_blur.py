"""Blur in integers against the sum over all pixels in float64."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers import slow_views
from uniclip.augmentation import blur

SIGMAS = (0.1, 0.28, 0.281, 0.5, 1.0, 2.0, 2.99, 3.0, 6.4, 40.0)


def draw_image(height, width):
    return np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)


@pytest.mark.parametrize("shape", [(32, 32), (24, 7), (1, 9), (2, 1), (1, 1)])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_blur_follows_its_definition_up_to_the_border(shape, sigma):
    image = draw_image(*shape)
    error = np.abs(blur.blur(image, sigma) - slow_views.blur(image.astype(np.float64), sigma))
    assert error.mean() < 0.7
    assert error.max() <= 2.5


@pytest.mark.parametrize("sigma", SIGMAS)
def test_one_color_stays(sigma):
    for value in (0, 1, 128, 255):
        image = np.full((3, 12, 15), value, np.uint8)
        assert np.array_equal(blur.blur(image, sigma), image)


def test_a_mirrored_and_a_turned_image_are_blurred_alike():
    image = draw_image(16, 16)
    for sigma in (0.7, 2.0, 5.0):
        blurred = blur.blur(image, sigma)
        assert np.array_equal(blur.blur(image[..., ::-1], sigma), blurred[..., ::-1])
        assert np.array_equal(blur.blur(image[:, ::-1], sigma), blurred[:, ::-1])


def test_the_smallest_sigma_that_acts():
    """`SMALL_SIGMA` saves the kernel, whose weights beside the centre would be 0."""
    image = draw_image(16, 16)
    assert blur.blur(image, blur.SMALL_SIGMA) is image
    kernel_weight = 256 * np.exp(-0.5 / blur.SMALL_SIGMA**2)
    assert 0.4 < kernel_weight < 0.5
    assert not np.array_equal(blur.blur(image, 0.3), image)
    assert image.flags.writeable
