"""Views of scenes: each operation damages its attribute and no other."""

from __future__ import annotations

import numpy as np

from tests.helpers.scene_images import IDS, draw_scenes_with, find_shapes, sample_damage
from uniclip import data
from uniclip.augmentation import apply, transform
from uniclip.config import RedrawProbabilities, ScenesData
from uniclip.data.scenes import draw
from uniclip.data.scenes.split import sample_attributes
from uniclip.data.scenes.views import MAX_MILD_CROP


def test_zero_probabilities_and_evaluation_views_damage_nothing():
    assert not transform.encode_as_vector(sample_damage()).any()
    assert not transform.encode_as_vector(sample_damage("evaluation", side=1, hue=1)).any()
    mild = sample_damage("strong", identity=0.0)
    assert not any(getattr(mild, n).any() for n in ("flip", "hue", "grey", "sigma", "saturation"))
    assert mild.area.min() > 0.94


def test_mild_views_keep_side_and_margin():
    ids = IDS[:256]
    for side, wrong in (("left", np.s_[..., 17:]), ("right", np.s_[..., :15])):
        for zoom in (0.0, 1.0):
            views = sample_damage("strong", identity=0.0, ids=ids, zoom=zoom)
            shapes_seen = find_shapes(
                apply.apply_augmentation(draw_scenes_with(256, side=side, colour="red"), views, 32)
            )
            assert not shapes_seen[wrong].any()
            assert zoom or not shapes_seen[:, [0, -1]].any()
            assert zoom or not shapes_seen[:, :, [0, -1]].any()
    # Zoomed in, shapes end inside the frame, though their soft edge may touch its last pixel.
    mild, half = MAX_MILD_CROP, draw.REFERENCE_SIZE / 2
    frame = half * (1 - mild) / draw.SIZE_RATIO - half * mild
    lowest = draw.ROW_SPACING + 0.15 + 1.04 * draw.LARGE_RADIUS
    assert frame > max(draw.MAX_CENTER_DISTANCE, lowest)


def test_flips_are_fair_and_independent_of_attributes():
    flips = sample_damage(side=1, identity=0.0).flip
    assert abs(flips.mean() - 0.5) < 0.015
    rows = sample_attributes("train", len(IDS))
    for column in rows.T:
        for value in np.unique(column):
            assert abs(flips[column == value].mean() - 0.5) < 0.05
    other = data.sample_view(
        ScenesData(redraw_prob=RedrawProbabilities(side=1)), "weak", 12, IDS, 0.1
    ).flip
    assert abs(np.corrcoef(flips, other)[0, 1]) < 0.03
    assert abs(sample_damage(side=0.9).flip.mean() - 0.45) < 0.015


def test_a_flipped_left_is_a_right():
    ids = np.arange(64, dtype=np.uint64)
    flipped = apply.apply_augmentation(
        draw_scenes_with(side="left"), sample_damage(ids=ids, side=0), 32
    )[..., ::-1]
    right = draw_scenes_with(side="right")
    # The same scene, mirrored: only the noise, drawn in place, differs.
    assert np.abs(flipped.astype(int) - right).max() <= 2 * np.ceil(6 * 6**0.5) + 2
    edges = find_shapes(flipped) != find_shapes(right)
    assert edges.mean() < 0.005
    assert find_shapes(right).mean() > 0.03


def test_hue_rotation_turns_a_color_into_another():
    views = sample_damage(hue=1)
    steps = np.round(views.hue * 6)
    assert np.abs(views.hue * 6 - steps).max() < 1e-6
    shares = np.unique(steps, return_counts=True)[1] / len(IDS)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.015)
    ids = np.arange(64, dtype=np.uint64)
    one = transform.build_params(64, hue=np.full(64, 1 / 6))
    yellow = apply.apply_augmentation(draw_scenes_with(colour="red"), one, 32).astype(int)
    assert np.abs(yellow - draw_scenes_with(colour="yellow")).max() <= 1
    assert len(ids) == len(yellow)
    assert np.array_equal(
        apply.apply_augmentation(draw_scenes_with(colour="grey"), one, 32),
        draw_scenes_with(colour="grey"),
    )


def test_zoom_maps_sizes_and_crop_removes_copies():
    n = 256
    small, large = (
        draw_scenes_with(n, size="small", colour="red"),
        draw_scenes_with(n, size="large", colour="red"),
    )
    zoomed = sample_damage(ids=IDS[:n], zoom=1)
    into = zoomed.area < 0.9
    grown = find_shapes(apply.apply_augmentation(small, zoomed, 32)).sum((1, 2))[into]
    assert abs(grown.mean() / find_shapes(large).sum((1, 2))[into].mean() - 1) < 0.1
    three = draw_scenes_with(n, count="three", colour="red")
    cropped = sample_damage(ids=IDS[:n], crop=1)
    cut = cropped.area < 1
    assert abs(cut.mean() - 2 / 3) < 0.1
    rows = find_shapes(apply.apply_augmentation(three, cropped, 32)).any(2)
    shapes = (np.diff(rows.astype(int), axis=1, prepend=0) == 1).sum(1)
    assert shapes[cut].max() <= 2
    assert shapes[~cut].max() == 3


def test_blur_removes_stripes_and_grey_removes_color():
    striped, plain = (draw_scenes_with(texture=t, colour="red") for t in ("striped", "plain"))
    sigma = sample_damage(blur=1).sigma
    assert abs((sigma > 0).mean() - 0.5) < 0.015
    blur = transform.build_params(64, sigma=np.full(64, sigma.max()), blurred=np.ones(64))
    before = np.abs(striped.astype(int) - plain)[find_shapes(plain)[:, None].repeat(3, 1)].mean()
    after = np.abs(
        apply.apply_augmentation(striped, blur, 32).astype(int)
        - apply.apply_augmentation(plain, blur, 32)
    )
    assert after.max() < before
    assert abs(sample_damage(grey=0.6).grey.mean() - 0.3) < 0.015


def test_identity_views_are_damaged_in_scope_only():
    views = sample_damage(identity=1.0, side=1)
    vectors = transform.encode_as_vector(views)
    assert set(np.flatnonzero(vectors.any(0))) == set(transform.TRANSFORM_GROUPS["flip"])
    assert not sample_damage("weak", scope="strong", side=1).flip.any()
    assert sample_damage("strong", scope="strong", side=1).flip.any()


def test_operations_are_drawn_independently():
    alone, both = sample_damage(side=0.9), sample_damage(side=0.9, hue=1, crop=1)
    assert np.array_equal(alone.flip, both.flip)
    assert np.all(sample_damage(side=0.9).flip <= sample_damage(side=1).flip)
