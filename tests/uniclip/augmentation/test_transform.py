"""Sampling of augmentation parameters, and their encoding as vectors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from uniclip.augmentation import transform

N, SIDE = 16, 24


@pytest.fixture
def ids():
    return np.arange(N, dtype=np.uint64)


def only(**columns):
    return transform.build_params(N, **{k: np.full(N, v, np.float64) for k, v in columns.items()})


def test_vectors_are_zero_for_the_identity_and_bounded():
    assert not transform.encode_as_vector(transform.build_evaluation_params(5)).any()
    ids = np.arange(4000, dtype=np.uint64)
    assert np.abs(transform.encode_as_vector(transform.sample_strong(1, ids, 0.0))).max() < 4
    extreme = only(hue=0.5, area=1.69, sigma=0.05, brightness=-3)
    assert np.abs(transform.encode_as_vector(extreme)).max() < 8
    for kind in (transform.sample_weak, transform.sample_strong):
        assert not transform.encode_as_vector(kind(1, ids, 1.0)).any()


def test_vectors_increase_with_the_parameter():
    turns = np.linspace(-0.5, 0.5, 41)
    column = transform.encode_as_vector(transform.build_params(41, hue=turns))[
        :, transform.VECTOR_COLUMNS.index("hue")
    ]
    assert (np.diff(column) > 0).all()


def test_strong_vectors_have_unit_standard_deviation():
    ids = np.arange(20_000, dtype=np.uint64)
    vectors = transform.encode_as_vector(transform.sample_strong(3, ids, identity_prob=0.0))
    assert vectors.shape == (20_000, transform.VECTOR_DIM)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.std(0), 1, atol=0.03)


def test_groups_cover_the_vector():
    columns = sorted(c for group in transform.TRANSFORM_GROUPS.values() for c in group)
    assert columns == list(range(transform.VECTOR_DIM))


def test_policies_stay_within_their_bounds():
    ids = np.arange(20_000, dtype=np.uint64)
    for kind, smallest, flipped in (
        (transform.sample_weak, 0.5, 0.0),
        (transform.sample_strong, 0.2, 0.5),
    ):
        views = kind(9, ids, 0.1)
        done = views.area < 1
        assert abs(done.mean() - 0.9) < 0.01
        assert views.area.min() >= smallest
        assert abs(views.flip[done].mean() - flipped) <= 0.02 * flipped / 0.5
        width = np.sqrt(views.area * np.exp(views.aspect))
        height = np.sqrt(views.area / np.exp(views.aspect))
        assert max(width.max(), height.max()) < 1 + 1e-5
        assert np.abs(views.aspect).max() <= np.log(4 / 3) + 1e-6
    weak = transform.sample_weak(9, ids)
    assert not any(getattr(weak, name).any() for name in ("flip", "hue", "grey", "sigma"))
    mirrored = transform.sample_params(replace(transform.WEAK_POLICY, flip_prob=0.5), 9, ids, 0.1)
    same = set(transform.VECTOR_COLUMNS) - {"flip"}
    assert all(np.array_equal(getattr(weak, name), getattr(mirrored, name)) for name in same)
    smaller = transform.sample_strong(9, ids, min_crop_scale=0.08).area
    assert 0.08 <= smaller.min() < 0.1


def test_parameters_depend_on_key_and_sample_only(ids):
    all_views, some = transform.sample_strong(7, ids), transform.sample_strong(7, ids[[4, 2]])
    picked = all_views[np.array([4, 2])]
    assert len(picked) == 2
    assert np.array_equal(transform.encode_as_vector(picked), transform.encode_as_vector(some))
    other = transform.encode_as_vector(transform.sample_strong(8, ids))
    assert not np.array_equal(transform.encode_as_vector(all_views), other)


def test_identity_views_do_not_change_other_views(ids):
    with_identity, without = (
        transform.sample_strong(7, ids, 0.5),
        transform.sample_strong(7, ids, 0.0),
    )
    is_augmented = with_identity.area < 1
    assert 0 < is_augmented.sum() < N
    is_augmented = np.flatnonzero(is_augmented)
    assert np.array_equal(
        transform.encode_as_vector(with_identity[is_augmented]),
        transform.encode_as_vector(without[is_augmented]),
    )


def test_sampling_and_encoding_do_not_import_torch():
    code = (
        "import sys, numpy as np\nfrom uniclip import data\n"
        "from uniclip.augmentation import transform\n"
        "from uniclip.config import *\n"
        "ids = np.arange(3, dtype=np.uint64)\n"
        "transform.encode_as_vector(transform.sample_strong(1, ids))\n"
        "config = ScenesData(num_train=16, num_test=16)\n"
        "data.open_split(config, 'train').load_pixels(np.arange(2))\n"
        "data.fingerprint(OpenmojiData()); data.describe_missing(CsvData())\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
