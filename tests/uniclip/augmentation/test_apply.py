"""Application of augmentation parameters to pixels."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers import slow_views
from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip import rng
from uniclip.augmentation import apply, transform
from uniclip.augmentation.resample import Photograph

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
            assert np.abs(rotated[0, :, y, x] - expected).max() <= 1


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
        assert np.abs(jittered - np.clip(values, 0, 255)).max() <= 1.1
    grey = apply.apply_augmentation(images, only(grey=1), SIDE)
    assert np.abs(grey - luma).max() <= 1


def test_separable_blur_equals_dense_blur(images):
    sigma = 1.7
    blurred = apply.apply_augmentation(images, only(sigma=sigma / SIDE, blurred=1), SIDE)
    y, x = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    weights = np.exp(-((y - y[:, None]) ** 2 + (x - x[:, None]) ** 2) / (2 * sigma**2))
    weights /= weights.sum(1, keepdims=True)
    dense = images.reshape(N, 3, -1) @ weights.T
    error = np.abs(blurred.reshape(N, 3, -1) - dense)
    assert error.mean() < 0.5
    assert error.max() <= 2


# ---- against views by their definitions ----------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(150, 200), (60, 45), (17, 90), (8, 8), (1, 1), (1, 40), (90, 3)]
)
@pytest.mark.parametrize("size", [16, 40])
def test_views_of_photographs_follow_their_definition(shape, size, ids):
    """Mean error under one grey level, and at most eight: hue multiplies the rounding before it."""
    photograph = Photograph(draw_photograph(*shape), size)
    params = transform.sample_strong(rng.derive_key(*shape), ids, identity_prob=0.0)
    views = apply.apply_augmentation([photograph] * N, params, size)
    expected = [slow_views.make_view(photograph.pixels, params[i : i + 1], size) for i in range(N)]
    error = np.abs(views - np.stack(expected))
    assert error.mean() < 0.7
    assert error.max() <= 8


def test_views_of_squares_follow_their_definition(images, ids):
    params = transform.sample_strong(3, ids, identity_prob=0.0)
    views = apply.apply_augmentation(images, params, 16)
    crops = dataclasses.replace(
        transform.build_params(N), area=params.area, aspect=params.aspect, x=params.x, y=params.y
    )
    cropped = apply.apply_augmentation(images, crops, 16).astype(np.float64)
    expected = [slow_views.change(cropped[i], params[i : i + 1], 16) for i in range(N)]
    error = np.abs(views - np.stack(expected))
    assert error.mean() < 0.7
    assert error.max() <= 8


def test_views_do_not_depend_on_the_rest_of_the_batch(images, ids):
    """Chunks of views are made together; here they start at other images."""
    photographs = [Photograph(draw_photograph(20 + i, 60 - i), 16) for i in range(N)]
    params = transform.sample_strong(11, ids)
    for sources in (images, photographs):
        together = apply.apply_augmentation(sources, params, 120)
        for part in (slice(0, 1), slice(3, 9), slice(5, N)):
            views = apply.apply_augmentation(sources[part], params[part], 120)
            assert np.array_equal(views, together[part])


def test_a_mirrored_photograph_gives_the_mirrored_view(ids):
    photograph = Photograph(draw_photograph(60, 90), 16)
    mirrored = Photograph(np.ascontiguousarray(photograph.pixels[:, ::-1]), 16)
    params = transform.sample_strong(5, ids, identity_prob=0.0)
    other = dataclasses.replace(params, x=-params.x, flip=1 - params.flip)
    views = apply.apply_augmentation([photograph] * N, params, 24)
    from_mirrored = apply.apply_augmentation([mirrored] * N, other, 24)
    assert np.abs(views.astype(int) - from_mirrored).max() <= 4, "rounding before the hue"
    assert (views == from_mirrored).mean() > 0.9


def test_identity_views_of_a_photograph_are_its_evaluation(ids):
    photograph = Photograph(draw_photograph(60, 90), 16)
    params = transform.sample_strong(5, ids, identity_prob=1.0)
    views = apply.apply_augmentation([photograph] * N, params, 16)
    assert np.array_equal(views, np.broadcast_to(photograph.get_square(), views.shape))


def test_source_images_are_not_changed(images, ids):
    photograph, params = Photograph(draw_photograph(40, 40), 24), transform.sample_strong(1, ids)
    before = images.copy(), photograph.pixels.copy()
    views = apply.apply_augmentation(images, transform.build_evaluation_params(N), SIDE)
    views += 1
    apply.apply_augmentation(images, params, SIDE)
    apply.apply_augmentation([photograph] * N, params, SIDE)
    assert np.array_equal(images, before[0])
    assert np.array_equal(photograph.pixels, before[1])
