"""Views made together on a device, beside those of a CPU.

Of photographs they are equal. Of square images, which a CPU crops in floating point, crops differ
by at most one level, in fewer than five of a hundred pixels (`CROP_TOLERANCE`; most of them where
the value is halfway between two levels); later operations multiply that (`VIEW_TOLERANCE`).
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip import rng
from uniclip.augmentation import apply, batched_views, color, transform
from uniclip.augmentation import blur as blur_module
from uniclip.augmentation.batched_views import make_views
from uniclip.augmentation.packed_views import pack_views
from uniclip.config import ScenesData
from uniclip.config.data import RedrawProbabilities
from uniclip.data.image_files import read_photograph
from uniclip.data.scenes import views as scene_views

SHAPES = [
    (60, 90),
    (375, 500),
    (224, 224),
    (1, 1),
    (3, 200),
    (700, 300),
    (240, 600),
    (50, 50),
    (260, 280),
]
"""Heights and widths."""
CROP_TOLERANCE, VIEW_TOLERANCE = (1, 0.05), (16, 0.05)
"""Largest and mean absolute difference, in levels of 255."""


def read_files(square_size):
    """Return photographs decoded from JPEGs, and one from a PNG, which is reduced if it is large.

    The evaluation transform of the latter is made before.
    """
    photographs = []
    for shape in SHAPES:
        stream, format_name = BytesIO(), "PNG" if shape == SHAPES[-1] else "JPEG"
        Image.fromarray(draw_photograph(*shape)).save(stream, format_name)
        photographs.append(read_photograph(stream, square_size))
    return photographs


def draw_params(n, identity_prob=0.1):
    """Return parameters of a weak view, and of strong ones with every operation in each."""
    ids = np.arange(n, dtype=np.uint64)
    every = transform.AugmentationPolicy(0.08, 0.5, 1.0, 0.1, 1.0)
    params_by_view = [transform.sample_weak(rng.derive_key("w"), ids, identity_prob)]
    params_by_view.append(transform.sample_strong(rng.derive_key("s"), ids, identity_prob))
    params_by_view += [transform.sample_params(every, rng.derive_key(i), ids, 0.0) for i in (0, 1)]
    return [*params_by_view, transform.build_evaluation_params(n)]


def make_both(images, params_by_view, size):
    """Return the views of a CPU and those of a device, (V, n, 3, size, size) int."""
    expected = [apply.apply_augmentation(images, params, size) for params in params_by_view]
    made = make_views(pack_views(images, params_by_view, size)).numpy()
    assert made.dtype == np.uint8
    return np.stack(expected).astype(int), made.astype(int)


def assert_within(tolerance, expected, made):
    difference = np.abs(expected - made)
    assert difference.max() <= tolerance[0]
    assert difference.mean() < tolerance[1]


@pytest.mark.parametrize("size", [32, 64])
def test_views_of_photographs_are_those_of_a_cpu(size):
    images = read_files(size)
    assert images[-1].square is not None
    expected, made = make_both(images, draw_params(len(images)), size)
    assert np.array_equal(made, expected)
    assert len({view.tobytes() for view in made.reshape(-1, 3 * size * size)}) > 4 * len(images)


def test_views_of_photographs_at_224_pixels_are_those_of_a_cpu():
    images = read_files(224)
    assert np.array_equal(*make_both(images, draw_params(len(images)), 224))


@pytest.mark.parametrize(("square_size", "size"), [(48, 32), (32, 48)])
def test_evaluated_views_of_another_size_are_made_of_the_square(square_size, size):
    images = read_files(square_size)
    assert images[-1].square is not None
    params_by_view = draw_params(len(images), 0.5)
    assert np.array_equal(*make_both(images, params_by_view, size))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert np.array_equal(*make_both(images, params_by_view, size))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("source_size", "size"), [(64, 32), (32, 32), (24, 40)])
def test_views_of_square_images_are_within_the_tolerance(source_size, size):
    words = rng.draw_words(1, np.arange(24, dtype=np.uint64), 3 * source_size**2) % 256
    images = words.astype(np.uint8).reshape(24, 3, source_size, source_size)
    expected, made = make_both(images, draw_params(24), size)
    assert_within(VIEW_TOLERANCE, expected, made)
    assert_within(CROP_TOLERANCE, expected[0], made[0])
    assert not np.array_equal(expected[0], expected[1])


def test_damaged_views_of_scenes_are_within_the_tolerance():
    """Boxes that reach beyond the image, hues turned by half, rows cut off, and blur."""
    images = np.stack([draw_photograph(64, 64).transpose(2, 0, 1)] * 40)
    names = ("side", "hue", "grey", "zoom", "crop", "blur")
    config = ScenesData(redraw_prob=RedrawProbabilities(**dict.fromkeys(names, 0.7)))
    ids = np.arange(40, dtype=np.uint64)
    params = scene_views.sample_scene_view(config, "strong", 5, ids, 0.1)
    assert (params.area > 1).any()
    assert_within(VIEW_TOLERANCE, *make_both(images, [params], 32))


def test_views_depend_neither_on_the_batch_nor_on_threads(monkeypatch):
    images, params_by_view = read_files(32), draw_params(len(SHAPES))
    whole = make_views(pack_views(images, params_by_view, 32))
    rows = np.array([6, 1, 3])
    selected = [params[rows] for params in params_by_view]
    some = make_views(pack_views([images[i] for i in rows], selected, 32))
    assert torch.equal(some, whole[:, rows])
    monkeypatch.setattr(batched_views, "CHUNK_PIXELS", 5000)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(make_views(pack_views(images, params_by_view, 32)), whole)
    finally:
        torch.set_num_threads(threads)


def test_colors_are_those_of_the_tables_whatever_the_factors():
    n, random = 200, np.random.default_rng(0)
    images = random.integers(0, 256, (n, 3, 12, 12), np.uint8)
    images[: n // 2, 1] = images[: n // 2, 0]  # equal channels, and grey
    images[: n // 4, 2] = images[: n // 4, 0]
    spread = np.where(np.arange(n) % 3, 0.5, 3.0)
    params = transform.build_params(
        n,
        brightness=spread * random.normal(size=n) * (random.random(n) < 0.7),
        contrast=spread * random.normal(size=n) * (random.random(n) < 0.7),
        saturation=spread * random.normal(size=n) * (random.random(n) < 0.7),
        hue=random.uniform(-0.5, 0.5, n) * (random.random(n) < 0.7),
        grey=random.random(n) < 0.1,
    )
    assert np.array_equal(*make_both(images, [params], 12))


def test_every_color_keeps_its_hue_when_it_is_not_turned():
    levels = torch.arange(0, 256, 15, dtype=torch.int32)
    planes = torch.cartesian_prod(levels, levels, levels).T[None].contiguous()
    turned = planes.clone()
    zero = torch.zeros(1, dtype=torch.int32)
    batched_views._rotate_hue(turned, zero, zero)
    assert torch.equal(turned, planes)
    expected = planes.numpy().astype(np.int16)
    color.rotate_hue(expected, np.array([0.3]))
    sixths, numerators = (torch.from_numpy(v).int() for v in color.split_turns(np.array([0.3])))
    batched_views._rotate_hue(turned, sixths, numerators)
    assert np.array_equal(turned.numpy(), expected)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.6, 2.9, 3.1, 9.0])
def test_blur_is_that_of_a_cpu(sigma):
    images = np.random.default_rng(1).integers(0, 256, (3, 3, 20, 20), np.uint8)
    kernel = torch.from_numpy(blur_module.build_kernel(sigma, 20)).int()
    padded = torch.nn.functional.pad(kernel, (0, 20 - len(kernel)))
    blurred = batched_views.blur(torch.from_numpy(images).int(), padded.expand(3, -1))
    expected = np.stack([blur_module.blur(image, sigma) for image in images])
    assert np.array_equal(blurred.numpy(), expected)
