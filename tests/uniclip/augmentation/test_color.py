"""Color operations in integers against their definitions in float64."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from uniclip.augmentation import color

LUMA = np.array([0.299, 0.587, 0.114])[:, None]


@pytest.fixture
def planes():
    """Return three images: noise, grey noise, and all corners of the color cube."""
    drawn = np.random.default_rng(0).integers(0, 256, (3, 3, 512)).astype(np.int16)
    drawn[1] = drawn[1, :1]
    drawn[2, :, :8] = 255 * np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, 8)
    return drawn


def changed(operation, planes, *values):
    result = planes.copy()
    operation(result, np.array(values, np.float64))
    assert result.min() >= 0
    assert result.max() <= 255
    return result


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.6, 0.99, 1.4, 1.5, 1.6, 3.0])
def test_each_operation_follows_its_definition(planes, factor):
    x, luma = planes.astype(np.float64), (planes * LUMA).sum(1, keepdims=True)
    targets = {
        color.scale_brightness: 0.0,
        color.scale_contrast: luma.mean(-1, keepdims=True),
        color.scale_saturation: luma,
    }
    for operation, target in targets.items():
        expected = np.clip(target + factor * (x - target), 0, 255)
        error = np.abs(changed(operation, planes, factor, factor, factor) - expected)
        assert error.mean() < 0.35
        assert error.max() <= 2


def test_images_of_a_batch_have_factors_of_their_own(planes):
    for operation, values in (
        (color.scale_brightness, (0.7, 1.0, 2.5)),
        (color.scale_contrast, (0.7, 1.0, 2.5)),
        (color.scale_saturation, (0.7, 1.0, 2.5)),
        (color.rotate_hue, (-0.1, 0.0, 0.4)),
    ):
        together = changed(operation, planes, *values)
        for i, value in enumerate(values):
            assert np.array_equal(together[i], changed(operation, planes[i : i + 1], value)[0])
        assert np.array_equal(together[1], planes[1]), "1 and 0 change nothing"
        assert not np.array_equal(together[0], planes[0])


def test_a_factor_of_one_and_whole_turns_change_nothing(planes):
    for operation in (color.scale_brightness, color.scale_contrast, color.scale_saturation):
        assert np.array_equal(changed(operation, planes, 1, 1, 1), planes)
    assert np.array_equal(changed(color.rotate_hue, planes, 0, 1, -2), planes)


@pytest.mark.parametrize("turn", [0.07, -0.1, 1 / 12, -1 / 12, 0.3, 0.49, -0.5, 5 / 6, 1.2])
def test_hue_rotation_agrees_with_colorsys(planes, turn):
    rotated = changed(color.rotate_hue, planes, turn, turn, turn)
    for image, expected_image in zip(planes, rotated):
        for before, after in zip(image.T[:200], expected_image.T):
            hue, saturation, value = colorsys.rgb_to_hsv(*(before / 255))
            expected = 255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
            assert np.abs(after - expected).max() <= 1


def test_rotations_by_sixths_are_exact(planes):
    assert np.array_equal(
        changed(color.rotate_hue, planes, 1 / 3, 1 / 3, 1 / 3), planes[:, [2, 0, 1]]
    )
    once = changed(color.rotate_hue, planes, 1 / 6, 1 / 6, 1 / 6)
    assert np.array_equal(changed(color.rotate_hue, once, 5 / 6, -1 / 6, 11 / 6), planes)


def test_luma_is_exact_for_grey(planes):
    assert np.array_equal(color.compute_luma(planes)[1], planes[1, 0])
    assert np.abs(color.compute_luma(planes) - (planes * LUMA).sum(1)).max() <= 1
    assert sum(color.LUMA_WEIGHTS) == 256
