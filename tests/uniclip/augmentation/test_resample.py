"""Crop and resize, of squares of one size and of photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.helpers import slow_views
from uniclip import rng
from uniclip.augmentation import resample, transform
from uniclip.augmentation.resample import Photograph
from uniclip.io import rgb_image

SHAPES = [(60, 90), (90, 60), (17, 400), (8, 8), (1, 1), (1, 40), (200, 3), (33, 31)]
"""Heights and widths."""


def draw_photograph(height, width):
    """Return (height, width, 3) uint8 with large shapes and noise."""
    drawn = np.random.default_rng(height * width)
    shapes = drawn.integers(0, 256, (3 + height // 9, 3 + width // 9, 3), np.uint8)
    image = Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC)
    noise = drawn.integers(-20, 21, (height, width, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def list_boxes(n=30, key=7):
    """Return area, aspect, x and y of strong views."""
    drawn = transform.sample_strong(key, np.arange(n, dtype=np.uint64), 0.0, min_crop_scale=0.08)
    return list(zip(*(getattr(drawn, name).tolist() for name in ("area", "aspect", "x", "y"))))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_box_lies_within_the_photograph_and_has_its_size(shape):
    height, width = shape
    for area, aspect, x, y in list_boxes(200):
        left, top, right, bottom = resample.compute_crop_box(width, height, area, aspect, x, y)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        expected_width = min(shape) * np.sqrt(area * np.exp(aspect))
        expected_height = min(shape) * np.sqrt(area / np.exp(aspect))
        assert abs(right - left - expected_width) <= 1
        assert abs(bottom - top - expected_height) <= 1
        slack = width - expected_width
        assert abs(left - slack * (1 + x) / 2) <= 1


def test_boxes_reach_the_sides_of_a_photograph():
    """A box of the largest square moves along the whole photograph, not within the centre."""
    assert resample.compute_crop_box(500, 375, 1, 0, -1, 0) == (0, 0, 375, 375)
    assert resample.compute_crop_box(500, 375, 1, 0, 1, 0) == (125, 0, 500, 375)
    assert resample.compute_crop_box(375, 500, 0.25, 0, 0, 1) == (94, 313, 281, 500)
    boxes = [resample.compute_crop_box(500, 375, *box) for box in list_boxes(400)]
    assert min(box[0] for box in boxes) < 10
    assert max(box[2] for box in boxes) > 490


def test_a_mirrored_position_gives_the_mirrored_box():
    for shape in SHAPES[:3]:
        for area, aspect, x, y in list_boxes(200):
            left, top, right, bottom = resample.compute_crop_box(*shape, area, aspect, x, y)
            mirrored = resample.compute_crop_box(*shape, area, aspect, -x, -y)
            expected = (shape[0] - right, shape[1] - bottom, shape[0] - left, shape[1] - top)
            assert mirrored == expected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("image_size", [12, 40])
def test_a_crop_follows_its_definition(shape, image_size):
    pixels = draw_photograph(*shape)
    image = pixels.astype(np.float64).transpose(2, 0, 1)
    for box in list_boxes():
        left, top, right, bottom = resample.compute_crop_box(shape[1], shape[0], *box)
        crop = resample.crop_photograph(Photograph(pixels, image_size), box, image_size)
        assert (crop.shape, crop.dtype) == ((3, image_size, image_size), np.uint8)
        error = np.abs(crop - slow_views.resize(image[:, top:bottom, left:right], image_size))
        assert error.mean() < 0.6
        assert error.max() <= 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("square_size", "image_size"), [(16, 16), (24, 16)])
def test_no_change_is_the_evaluation_transform(shape, square_size, image_size, tmp_path):
    pixels = draw_photograph(*shape)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    square = rgb_image.read_square(tmp_path / "a.png", square_size)
    expected = resample.crop_squares(square[None], transform.build_evaluation_params(1), image_size)
    photograph = resample.make_photograph(Image.fromarray(pixels), square_size)
    assert np.array_equal(photograph.get_square(), square)
    crop = resample.crop_photograph(photograph, (1.0, 0.0, 0.0, 0.0), image_size)
    assert np.array_equal(crop, expected[0])


def test_a_large_photograph_is_reduced_and_keeps_its_square():
    large = Image.fromarray(draw_photograph(130, 170))
    reduced = resample.make_photograph(large, 16)
    assert reduced.pixels.shape == (33, 43, 3), "a quarter"
    assert reduced.pixels.flags.writeable
    assert np.array_equal(reduced.get_square(), rgb_image.crop_and_resize(large, 16))
    assert reduced.num_bytes == 3 * 33 * 43 + 3 * 16 * 16
    kept = resample.make_photograph(large, 33)
    assert np.array_equal(kept.pixels, np.asarray(large)), "shorter than four squares"
    assert kept.num_bytes == 3 * 130 * 170
    means = draw_photograph(130, 170)[:128, :168].reshape(32, 4, 42, 4, 3).mean((1, 3))
    assert np.abs(reduced.pixels[:32, :42] - means).max() <= 0.51


def test_squares_of_the_size_of_the_view_are_not_resampled():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 20), np.uint8)
    whole = transform.build_evaluation_params(3)
    assert resample.crop_squares(pixels, whole, 20) is pixels
    one_crop = transform.build_params(3, area=[0.5, 1, 1])
    crops = resample.crop_squares(pixels, one_crop, 20)
    assert np.array_equal(crops[1:], pixels[1:]), "the products give the same"
    assert not np.array_equal(crops[0], pixels[0])


def test_squares_of_a_batch_are_cropped_alike_in_any_part_of_it():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 32, 32), np.uint8)
    params = transform.sample_strong(rng.derive_key("a"), np.arange(9, dtype=np.uint64))
    together = resample.crop_squares(pixels, params, 24)
    for part in (slice(0, 1), slice(2, 7), slice(5, 9)):
        assert np.array_equal(resample.crop_squares(pixels[part], params[part], 24), together[part])
