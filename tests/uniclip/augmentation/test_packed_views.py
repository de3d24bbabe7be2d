"""What data workers pack for views that a device makes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.uniclip.augmentation.test_resample import draw_photograph
from uniclip.augmentation import packed_views, transform
from uniclip.augmentation.batched_views import make_views
from uniclip.augmentation.packed_views import pack_views
from uniclip.augmentation.resample import Photograph, compute_crop_box

SIZE, SHAPES = 16, [(30, 50), (64, 40), (20, 20), (90, 33), (16, 70)]


@pytest.fixture
def photographs():
    return [Photograph(draw_photograph(*shape), SIZE) for shape in SHAPES]


def draw_params(ids, identity_prob=0.2):
    ids = np.asarray(ids, np.uint64)
    weak = transform.sample_weak(1, ids, identity_prob)
    return [weak, *(transform.sample_strong(key, ids, identity_prob) for key in (2, 3))]


def select(params_by_view, rows):
    return [params[rows] for params in params_by_view]


def test_only_the_region_of_all_crops_is_packed(photographs):
    params_by_view = draw_params(range(len(photographs)), identity_prob=0.0)
    packed = pack_views(photographs, params_by_view, SIZE)
    first = 0
    for row, photograph in enumerate(photographs):
        height, width, _ = photograph.pixels.shape
        columns = [(p.area[row], p.aspect[row], p.x[row], p.y[row]) for p in params_by_view]
        boxes = [compute_crop_box(width, height, *map(float, box)) for box in columns]
        left, top = (min(box[i] for box in boxes) for i in (0, 1))
        right, bottom = (max(box[i] for box in boxes) for i in (2, 3))
        region = photograph.pixels[top:bottom, left:right]
        num_pixels = region.shape[0] * region.shape[1]
        pixels = packed.pixels[first : first + num_pixels].numpy()
        assert np.array_equal(pixels, region.reshape(-1, 3))
        for crop, box in zip(packed.crops[:, row].tolist(), boxes):
            assert crop[0] == first + (box[1] - top) * (right - left) + box[0] - left
            assert crop[1:4] == [right - left, box[3] - box[1], box[2] - box[0]]
        first += num_pixels
    assert first == len(packed.pixels)


def test_a_photograph_without_a_crop_gives_its_central_square_only(photographs):
    packed = pack_views(photographs, [transform.build_evaluation_params(len(SHAPES))], SIZE)
    assert len(packed.pixels) == sum(min(shape) ** 2 for shape in SHAPES)


def test_a_square_that_was_made_is_packed_beside_the_photograph():
    square = draw_photograph(SIZE, SIZE).transpose(2, 0, 1)
    photograph = Photograph(draw_photograph(40, 60), SIZE, square)
    params_by_view = [transform.build_evaluation_params(1), *draw_params([0], 0.0)]
    packed = pack_views([photograph], params_by_view, SIZE)
    made = make_views(packed)
    assert np.array_equal(made[0, 0].numpy(), square)
    assert not np.array_equal(made[1, 0].numpy(), square)


def test_parts_are_the_batch(photographs):
    params_by_view = draw_params(range(len(SHAPES)))
    whole = pack_views(photographs, params_by_view, SIZE)
    slices = [slice(0, 2), slice(2, 3), slice(3, 5)]
    parts = [pack_views(photographs[s], select(params_by_view, s), SIZE) for s in slices]
    joined = packed_views.concatenate(parts)
    for name in ("pixels", "crops", "spans", "colors"):
        assert torch.equal(getattr(joined, name), getattr(whole, name)), name
    assert torch.equal(make_views(joined), make_views(whole))


def test_every_tensor_is_pinned(photographs, monkeypatch):
    packed = pack_views(photographs, draw_params(range(len(SHAPES))), SIZE)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = packed.pin_memory()
    for field in dataclasses.fields(packed):
        value, pinned_value = getattr(packed, field.name), getattr(pinned, field.name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(pinned_value, value + 1), field.name
        else:
            assert pinned_value == value


def test_rows_are_selected_in_every_table(photographs):
    whole = pack_views(photographs, draw_params(range(len(SHAPES))), SIZE)
    assert torch.equal(make_views(whole.select_rows(slice(1, 4))), make_views(whole)[:, 1:4])


def test_images_of_one_size_are_cropped_to_their_central_square():
    images = np.stack([draw_photograph(20, 30).transpose(2, 0, 1)] * 2)
    packed = pack_views(images, [transform.build_evaluation_params(2)], 20)
    assert np.array_equal(make_views(packed)[0].numpy(), images[:, :, :, 5:25])
