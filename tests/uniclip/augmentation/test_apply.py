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
def pictures():
    noise = rng.draw_words(1, np.arange(N, dtype=np.uint64), 3 * SIDE * SIDE) % 256
    return noise.astype(np.uint8).reshape(N, 3, SIDE, SIDE)


@pytest.fixture
def ids():
    return np.arange(N, dtype=np.uint64)


def only(**columns):
    return transform.build_params(N, **{k: np.full(N, v, np.float64) for k, v in columns.items()})


def test_replay_is_bit_equal_whatever_the_threads(pictures, ids):
    views = transform.sample_strong(5, ids)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 3):
        torch.set_num_threads(count)
        results.append(apply.apply_augmentation(pictures, views, 16))
        assert torch.get_num_threads() == count
    torch.set_num_threads(threads)
    assert np.array_equal(*results)
    assert len({view.tobytes() for view in results[0]}) == N


def test_evaluation_leaves_a_picture_of_the_same_size_unchanged(pictures):
    assert np.array_equal(
        apply.apply_augmentation(pictures, transform.build_evaluation_params(N), SIDE), pictures
    )
    assert np.array_equal(
        apply.apply_augmentation(pictures, transform.build_evaluation_params(N), 12).shape,
        (N, 3, 12, 12),
    )


def test_halving_is_pillows_antialiased_bilinear(pictures):
    from PIL import Image

    halved = apply.apply_augmentation(pictures, transform.build_evaluation_params(N), SIDE // 2)
    image = Image.fromarray(pictures[0].transpose(1, 2, 0)).resize((12, 12), Image.BILINEAR)
    expected = np.asarray(image).transpose(2, 0, 1).astype(int)
    assert np.abs(halved[0].astype(int) - expected).max() <= 1


def test_flip_twice_is_nothing(pictures):
    once = apply.apply_augmentation(pictures, only(flip=1), SIDE)
    assert np.array_equal(once, pictures[..., ::-1])
    assert np.array_equal(apply.apply_augmentation(once, only(flip=1), SIDE), pictures)


def test_a_quarter_box_in_a_corner_is_that_corner(pictures):
    corner = apply.apply_augmentation(pictures, only(area=0.25, x=1, y=-1), SIDE // 2)
    assert np.array_equal(corner, pictures[:, :, : SIDE // 2, SIDE // 2 :])


def test_zoom_out_repeats_the_border(pictures):
    out = apply.apply_augmentation(pictures, only(area=4), SIDE)
    assert (out[:, :, :6, :6] == out[:, :, :1, :1]).all()
    half = apply.apply_augmentation(pictures, transform.build_evaluation_params(N), SIDE // 2)
    assert np.array_equal(out[:, :, 7:17, 7:17], half[:, :, 1:-1, 1:-1])


def test_box_and_fields_agree(pictures):
    half = np.full(N, 0.5)
    fields = transform.compute_box_columns(left=half, top=half * 0, width=half, height=half * 2)
    right = apply.apply_augmentation(pictures, transform.build_params(N, **fields), SIDE)
    assert fields["x"][0] == 1
    assert fields["y"][0] == 0
    centres = apply.apply_augmentation(
        pictures[..., SIDE // 2 :], transform.build_evaluation_params(N), SIDE
    )
    assert right.shape == centres.shape
    assert np.array_equal(right[..., -1], pictures[..., -1])


def test_what_is_not_square_is_cropped_to_its_centre(pictures):
    wide = np.concatenate([pictures[..., :4], pictures, pictures[..., :4]], axis=-1)
    assert np.array_equal(
        apply.apply_augmentation(wide, transform.build_evaluation_params(N), SIDE), pictures
    )
    assert apply.apply_augmentation(
        pictures[:0], transform.build_evaluation_params(0), 8
    ).shape == (0, 3, 8, 8)


def test_hue_is_that_of_colorsys(pictures):
    for turn in (0.07, -0.1, 1 / 3, 0.5):
        turned = apply.apply_augmentation(pictures, only(hue=turn), SIDE)
        for y, x in ((0, 0), (3, 7), (20, 11)):
            h, s, v = colorsys.rgb_to_hsv(*(pictures[0, :, y, x] / 255))
            expected = np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255
            assert np.abs(turned[0, :, y, x] - expected).max() <= 0.51


def test_hue_turned_by_sixths_is_exact():
    colours = np.array([[250, 75, 75], [75, 250, 75], [75, 75, 250], [9, 9, 9]], np.uint8)
    pixels = np.broadcast_to(colours[:, :, None, None], (4, 3, 4, 4))
    turned = apply.apply_augmentation(pixels, transform.build_params(4, hue=np.full(4, 1 / 3)), 4)
    assert np.array_equal(turned[:, :, 0, 0], colours[[1, 2, 0, 3]])


def test_colour_operations_are_the_published_ones(pictures):
    x = pictures.astype(np.float64)
    luma = (x * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    f = 1.3
    expected = {
        "brightness": x * f,
        "contrast": f * x + (1 - f) * luma.mean((1, 2, 3), keepdims=True),
        "saturation": f * x + (1 - f) * luma,
    }
    for name, values in expected.items():
        got = apply.apply_augmentation(pictures, only(**{name: np.log(f)}), SIDE)
        assert np.abs(got - np.clip(values, 0, 255)).max() <= 0.51
    grey = apply.apply_augmentation(pictures, only(grey=1), SIDE)
    assert np.abs(grey - luma).max() <= 0.51


def test_blur_is_the_dense_one(pictures):
    sigma = 1.7
    blurred = apply.apply_augmentation(pictures, only(sigma=sigma / SIDE, blurred=1), SIDE)
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    weights = np.exp(-((y - y[:, None]) ** 2 + (x - x[:, None]) ** 2) / (2 * sigma**2))
    weights /= weights.sum(1, keepdims=True)
    dense = pictures.reshape(N, 3, -1) @ weights.T
    assert np.abs(blurred.reshape(N, 3, -1) - dense).max() <= 0.51
