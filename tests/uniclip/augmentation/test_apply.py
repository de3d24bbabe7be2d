"""Application of augmentation parameters to pixels."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from uniclip import rng
from uniclip.augmentation import apply, transform

N, SIDE = 16, 24


@pytest.fixture
def images():
    noise = rng.draw_words(1, np.arange(N, dtype=np.uint64), 3 * SIDE * SIDE) % 256
    return noise.astype(np.uint8).reshape(N, 3, SIDE, SIDE)


@pytest.fixture
def ids():
    return np.arange(N, dtype=np.uint64)


def only(**columns):
    return transform.build_params(N, **{k: np.full(N, v, np.float64) for k, v in columns.items()})


def test_views_do_not_depend_on_the_number_of_threads(images, ids):
    views = transform.sample_strong(5, ids)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(apply.apply_augmentation(images, views, 16))
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert np.array_equal(*results)
    assert len({view.tobytes() for view in results[0]}) == N


def test_the_evaluation_transform_keeps_an_image_of_the_same_size(images):
    assert np.array_equal(
        apply.apply_augmentation(images, transform.build_evaluation_params(N), SIDE), images
    )
    assert np.array_equal(
        apply.apply_augmentation(images, transform.build_evaluation_params(N), 12).shape,
        (N, 3, 12, 12),
    )


def test_halving_equals_pillows_antialiased_bilinear(images):
    from PIL import Image

    halved = apply.apply_augmentation(images, transform.build_evaluation_params(N), SIDE // 2)
    image = Image.fromarray(images[0].transpose(1, 2, 0)).resize((12, 12), Image.BILINEAR)
    expected = np.asarray(image).transpose(2, 0, 1).astype(int)
    assert np.abs(halved[0].astype(int) - expected).max() <= 1


def test_two_flips_restore_the_image(images):
    once = apply.apply_augmentation(images, only(flip=1), SIDE)
    assert np.array_equal(once, images[..., ::-1])
    assert np.array_equal(apply.apply_augmentation(once, only(flip=1), SIDE), images)


def test_a_crop_box_in_a_corner_returns_that_corner(images):
    corner = apply.apply_augmentation(images, only(area=0.25, x=1, y=-1), SIDE // 2)
    assert np.array_equal(corner, images[:, :, : SIDE // 2, SIDE // 2 :])


def test_zoom_out_repeats_the_border(images):
    out = apply.apply_augmentation(images, only(area=4), SIDE)
    assert (out[:, :, :6, :6] == out[:, :, :1, :1]).all()
    half = apply.apply_augmentation(images, transform.build_evaluation_params(N), SIDE // 2)
    assert np.array_equal(out[:, :, 7:17, 7:17], half[:, :, 1:-1, 1:-1])


def test_a_box_and_its_columns_agree(images):
    half = np.full(N, 0.5)
    fields = transform.compute_box_columns(left=half, top=half * 0, width=half, height=half * 2)
    right = apply.apply_augmentation(images, transform.build_params(N, **fields), SIDE)
    assert fields["x"][0] == 1
    assert fields["y"][0] == 0
    centres = apply.apply_augmentation(
        images[..., SIDE // 2 :], transform.build_evaluation_params(N), SIDE
    )
    assert right.shape == centres.shape
    assert np.array_equal(right[..., -1], images[..., -1])


def test_non_square_images_are_center_cropped(images):
    wide = np.concatenate([images[..., :4], images, images[..., :4]], axis=-1)
    assert np.array_equal(
        apply.apply_augmentation(wide, transform.build_evaluation_params(N), SIDE), images
    )
    assert apply.apply_augmentation(images[:0], transform.build_evaluation_params(0), 8).shape == (
        0,
        3,
        8,
        8,
    )


def test_hue_rotation_agrees_with_colorsys(images):
    for turn in (0.07, -0.1, 1 / 3, 0.5):
        rotated = apply.apply_augmentation(images, only(hue=turn), SIDE)
        for y, x in ((0, 0), (3, 7), (20, 11)):
            h, s, v = colorsys.rgb_to_hsv(*(images[0, :, y, x] / 255))
            expected = np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255
            assert np.abs(rotated[0, :, y, x] - expected).max() <= 0.51


def test_hue_rotation_by_a_third_is_exact():
    colours = np.array([[250, 75, 75], [75, 250, 75], [75, 75, 250], [9, 9, 9]], np.uint8)
    pixels = np.broadcast_to(colours[:, :, None, None], (4, 3, 4, 4))
    rotated = apply.apply_augmentation(pixels, transform.build_params(4, hue=np.full(4, 1 / 3)), 4)
    assert np.array_equal(rotated[:, :, 0, 0], colours[[1, 2, 0, 3]])


def test_color_operations_follow_their_definitions(images):
    x = images.astype(np.float64)
    luma = (x * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    f = 1.3
    expected = {
        "brightness": x * f,
        "contrast": f * x + (1 - f) * luma.mean((1, 2, 3), keepdims=True),
        "saturation": f * x + (1 - f) * luma,
    }
    for name, values in expected.items():
        jittered = apply.apply_augmentation(images, only(**{name: np.log(f)}), SIDE)
        assert np.abs(jittered - np.clip(values, 0, 255)).max() <= 0.51
    grey = apply.apply_augmentation(images, only(grey=1), SIDE)
    assert np.abs(grey - luma).max() <= 0.51


def test_separable_blur_equals_dense_blur(images):
    sigma = 1.7
    blurred = apply.apply_augmentation(images, only(sigma=sigma / SIDE, blurred=1), SIDE)
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    weights = np.exp(-((y - y[:, None]) ** 2 + (x - x[:, None]) ** 2) / (2 * sigma**2))
    weights /= weights.sum(1, keepdims=True)
    dense = images.reshape(N, 3, -1) @ weights.T
    assert np.abs(blurred.reshape(N, 3, -1) - dense).max() <= 0.51
