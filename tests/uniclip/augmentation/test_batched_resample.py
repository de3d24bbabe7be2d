"""Crops of many sizes, resized together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tests.uniclip.augmentation.test_resample import SHAPES, draw_photograph
from uniclip.augmentation.batched_resample import CropSizes, count_taps, resample_crops
from uniclip.augmentation.packed_views import EVALUATED_PHOTOGRAPH, PHOTOGRAPH

WIDE_SHAPES = [*SHAPES, (300, 400), (64, 64), (65, 63)]


def resample_all(images, kind, size, flipped=False):
    """Return whole images (H, W, 3), resized together to squares, (n, 3, size, size)."""
    heights, widths = (torch.tensor([image.shape[i] for image in images]) for i in (0, 1))
    first = torch.cumsum(heights * widths, 0) - heights * widths
    kinds = torch.full_like(first, kind)
    crops = torch.stack([first, widths, heights, widths, kinds], 1)
    extents = torch.stack([heights, widths], 1).double()
    spans = torch.stack([torch.zeros_like(extents), extents], 2)
    sizes = CropSizes(kind, int(crops[:, 2:4].max()), int(count_taps(crops, spans, size).max()))
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
    is_flipped = torch.full((len(images),), flipped)
    return resample_crops(pixels, crops, spans, is_flipped, size, sizes)


@pytest.mark.parametrize("size", [5, 32, 64])
def test_photographs_are_resized_as_torch_does(size):
    images = [draw_photograph(*shape) for shape in WIDE_SHAPES]
    resized = resample_all(images, PHOTOGRAPH, size)
    for image, row in zip(images, resized):
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
        expected = functional.interpolate(tensor, (size, size), mode="bilinear", antialias=True)
        assert torch.equal(row, expected[0].int())


@pytest.mark.parametrize("size", [5, 32, 64])
def test_evaluated_photographs_are_resized_as_pillow_does(size):
    images = [draw_photograph(side, side) for side in (1, 2, 9, 31, 32, 65, 200, 700)]
    resized = resample_all(images, EVALUATED_PHOTOGRAPH, size)
    for image, row in zip(images, resized):
        expected = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        assert np.array_equal(row.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_a_flipped_crop_is_the_mirrored_one():
    images = [draw_photograph(*shape) for shape in WIDE_SHAPES]
    mirrored = resample_all(images, PHOTOGRAPH, 16, flipped=True)
    assert torch.equal(mirrored.flip(3), resample_all(images, PHOTOGRAPH, 16))


def test_an_image_does_not_depend_on_those_beside_it():
    images = [draw_photograph(*shape) for shape in WIDE_SHAPES]
    together = resample_all(images, PHOTOGRAPH, 24)
    for i, image in enumerate(images):
        assert torch.equal(resample_all([image], PHOTOGRAPH, 24)[0], together[i])
