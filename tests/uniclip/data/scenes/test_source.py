"""Scenes: captions are true, parts are balanced, damage does what it says and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip import data
from uniclip.augmentation import apply, transform
from uniclip.config import RedrawProbabilities, ScenesData
from uniclip.data.scenes import attributes, draw
from uniclip.data.scenes import split as scene_split
from uniclip.data.scenes import views as scene_views

IDS = np.arange(20_000, dtype=np.uint64)
NAMES = list(attributes.ATTRIBUTES)


def drawn(n=64, **fixed):
    """Pictures with some attributes fixed by their word, others as in the test part."""
    rows = scene_split.sample_attributes("test", n)
    for name, word in fixed.items():
        rows[:, NAMES.index(name)] = attributes.ATTRIBUTES[name].index(word)
    return draw.draw_scenes(rows, np.arange(n, dtype=np.uint64), 32)


def damage(kind="weak", identity=1.0, ids=IDS, scope="all", **deltas):
    config = ScenesData(redraw_prob=RedrawProbabilities(**deltas), damaged_views=scope)
    return data.sample_view(config, kind, 11, ids, identity)


def lit(pixels):
    """Where a shape stands: pixels brighter than any ground."""
    return pixels.max(1) > 65


def test_captions():
    row = dict(count=1, size=0, colour=0, texture=1, shape=0, side=0)
    assert attributes.format_caption(row) == "two small red striped discs on the left"
    assert (
        attributes.format_caption([0, 1, 6, 0, 3, 1]) == "one large grey plain cross on the right"
    )
    assert attributes.format_caption([2, 1, 6, 0, 3, 1]).split()[4] == "crosses"
    unsaid = dict(count=False, shape=False, side=False)
    assert attributes.format_caption(row, unsaid) == "small red striped shapes"


def test_a_fifth_of_the_looks_is_never_trained_on():
    held = scene_split._build_held_out_mask()
    assert held.sum() == round(0.2 * len(held))
    assert not scene_split.is_held_out(scene_split.sample_attributes("train")).any()
    assert not scene_split.is_held_out(scene_split.sample_attributes("validation")).any()
    share = scene_split.is_held_out(scene_split.sample_attributes("test")).mean()
    assert 0.15 < share < 0.25


def test_parts_are_balanced_and_disjoint():
    config = ScenesData(num_train=400, num_test=200)
    splits = {part: data.open_split(config, part) for part in data.SPLIT_NAMES}
    assert [len(s) for s in splits.values()] == [400, 200, 200]
    assert len(set(np.concatenate([s.ids for s in splits.values()]).tolist())) == 800
    for part in ("validation", "test"):
        assert splits[part].labels["side"].mean() == 0.5
    train = splits["train"]
    for i, caption in enumerate(train.sample_names[:50]):
        for name, classes in train.class_names.items():
            assert classes[train.labels[name][i]] in caption
    assert train.captions[3] == (train.sample_names[3],)


def test_a_sample_is_a_function_of_its_id():
    split = data.open_split(ScenesData(num_train=40, num_test=16), "train")
    larger = data.open_split(ScenesData(num_train=400, num_test=16), "train")
    index = np.array([7, 3, 7])
    pixels = split.load_pixels(index)
    assert np.array_equal(pixels, larger.load_pixels(index))
    assert np.array_equal(
        pixels, draw.draw_scenes(split.attribute_rows[index], split.ids[index], 32)
    )
    assert np.array_equal(pixels, split.load_pixels(index))
    assert not np.array_equal(pixels[0], pixels[1])


def test_pictures_show_what_captions_say():
    left, right = lit(drawn(side="left")), lit(drawn(side="right"))
    assert not left[..., 16:].any()
    assert not right[..., :16].any()
    small, large = (lit(drawn(size=s)).sum((1, 2)) for s in ("small", "large"))
    assert 1.4 < large.mean() / small.mean() < 2.1
    areas = [lit(drawn(count=c)).sum((1, 2)).mean() for c in ("one", "two", "three")]
    np.testing.assert_allclose(np.array(areas) / areas[0], [1, 2, 3], rtol=0.05)
    grey = drawn(colour="grey")
    assert (grey == grey[:, :1]).all()
    red = drawn(colour="red").astype(int)
    assert (red[:, 0] - red[:, 1])[lit(red)].min() > 0


def test_nothing_is_damaged_at_zero_and_evaluation_does_nothing():
    assert not transform.encode_as_vector(damage()).any()
    assert not transform.encode_as_vector(damage("evaluation", side=1, hue=1)).any()
    mild = damage("strong", identity=0.0)
    assert not any(getattr(mild, n).any() for n in ("flip", "hue", "grey", "sigma", "saturation"))
    assert mild.area.min() > 0.94


def test_mild_views_keep_side_and_frame():
    ids = IDS[:256]
    for side, wrong in (("left", np.s_[..., 17:]), ("right", np.s_[..., :15])):
        for zoom in (0.0, 1.0):
            views = damage("strong", identity=0.0, ids=ids, zoom=zoom)
            seen = lit(apply.apply_augmentation(drawn(256, side=side, colour="red"), views, 32))
            assert not seen[wrong].any()
            assert zoom or not seen[:, [0, -1]].any()
            assert zoom or not seen[:, :, [0, -1]].any()
    # Zoomed in, shapes end inside the frame, though their soft edge may touch its last pixel.
    mild, half = scene_views.MAX_MILD_CROP, draw.REFERENCE_SIZE / 2
    frame = half * (1 - mild) / draw.SIZE_RATIO - half * mild
    lowest = draw.ROW_SPACING + 0.15 + 1.04 * draw.LARGE_RADIUS
    assert frame > max(draw.MAX_CENTER_DISTANCE, lowest)


def test_flips_are_fair_and_independent_of_everything():
    flips = damage(side=1, identity=0.0).flip
    assert abs(flips.mean() - 0.5) < 0.015
    rows = scene_split.sample_attributes("train", len(IDS))
    for column in rows.T:
        for value in np.unique(column):
            assert abs(flips[column == value].mean() - 0.5) < 0.05
    other = data.sample_view(
        ScenesData(redraw_prob=RedrawProbabilities(side=1)), "weak", 12, IDS, 0.1
    ).flip
    assert abs(np.corrcoef(flips, other)[0, 1]) < 0.03
    assert abs(damage(side=0.9).flip.mean() - 0.45) < 0.015


def test_a_flipped_left_is_a_right():
    ids = np.arange(64, dtype=np.uint64)
    flipped = apply.apply_augmentation(drawn(side="left"), damage(ids=ids, side=0), 32)[..., ::-1]
    right = drawn(side="right")
    # The same scene, mirrored: only the noise, drawn in place, differs.
    assert np.abs(flipped.astype(int) - right).max() <= 2 * np.ceil(6 * 6**0.5) + 2
    edges = lit(flipped) != lit(right)
    assert edges.mean() < 0.005
    assert lit(right).mean() > 0.03


def test_hue_turns_one_legal_colour_into_another():
    views = damage(hue=1)
    steps = np.round(views.hue * 6)
    assert np.abs(views.hue * 6 - steps).max() < 1e-6
    shares = np.unique(steps, return_counts=True)[1] / len(IDS)
    np.testing.assert_allclose(shares, 1 / 6, atol=0.015)
    ids = np.arange(64, dtype=np.uint64)
    one = transform.build_params(64, hue=np.full(64, 1 / 6))
    yellow = apply.apply_augmentation(drawn(colour="red"), one, 32).astype(int)
    assert np.abs(yellow - drawn(colour="yellow")).max() <= 1
    assert len(ids) == len(yellow)
    assert np.array_equal(
        apply.apply_augmentation(drawn(colour="grey"), one, 32), drawn(colour="grey")
    )


def test_zoom_maps_sizes_and_crop_takes_copies_away():
    n = 256
    small, large = drawn(n, size="small", colour="red"), drawn(n, size="large", colour="red")
    zoomed = damage(ids=IDS[:n], zoom=1)
    into = zoomed.area < 0.9
    grown = lit(apply.apply_augmentation(small, zoomed, 32)).sum((1, 2))[into]
    assert abs(grown.mean() / lit(large).sum((1, 2))[into].mean() - 1) < 0.1
    three = drawn(n, count="three", colour="red")
    cropped = damage(ids=IDS[:n], crop=1)
    cut = cropped.area < 1
    assert abs(cut.mean() - 2 / 3) < 0.1
    rows = lit(apply.apply_augmentation(three, cropped, 32)).any(2)
    shapes = (np.diff(rows.astype(int), axis=1, prepend=0) == 1).sum(1)
    assert shapes[cut].max() <= 2
    assert shapes[~cut].max() == 3


def test_blur_takes_stripes_and_grey_takes_colour_away():
    striped, plain = (drawn(texture=t, colour="red") for t in ("striped", "plain"))
    sigma = damage(blur=1).sigma
    assert abs((sigma > 0).mean() - 0.5) < 0.015
    blur = transform.build_params(64, sigma=np.full(64, sigma.max()), blurred=np.ones(64))
    before = np.abs(striped.astype(int) - plain)[lit(plain)[:, None].repeat(3, 1)].mean()
    after = np.abs(
        apply.apply_augmentation(striped, blur, 32).astype(int)
        - apply.apply_augmentation(plain, blur, 32)
    )
    assert after.max() < before
    assert abs(damage(grey=0.6).grey.mean() - 0.3) < 0.015


def test_identity_views_are_damaged_and_scope_is_kept():
    views = damage(identity=1.0, side=1)
    vectors = transform.encode_as_vector(views)
    assert set(np.flatnonzero(vectors.any(0))) == set(transform.TRANSFORM_GROUPS["flip"])
    assert not damage("weak", scope="strong", side=1).flip.any()
    assert damage("strong", scope="strong", side=1).flip.any()


def test_dials_do_not_disturb_each_other():
    alone, both = damage(side=0.9), damage(side=0.9, hue=1, crop=1)
    assert np.array_equal(alone.flip, both.flip)
    assert np.all(damage(side=0.9).flip <= damage(side=1).flip)


@pytest.mark.parametrize("part", ["train", "test"])
def test_caption_noise_and_words_left_out(part):
    config = ScenesData(
        num_train=2000, num_test=64, caption_swap_prob=0.3, attribute_dropout_prob=0.2
    )
    split = data.open_split(config, part)
    told = [c[0] for c in split.captions]
    if part == "test":
        assert told == list(split.sample_names)
        return
    sides = [f"on the {attributes.ATTRIBUTES['side'][s]}" for s in split.labels["side"]]
    said = np.array(["on the" in t for t in told])
    wrong = np.array([s not in t for s, t in zip(sides, told, strict=True)])[said]
    assert abs(said.mean() - 0.8) < 0.03
    assert abs(wrong.mean() - 0.15) < 0.03
