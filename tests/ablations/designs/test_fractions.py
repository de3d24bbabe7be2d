"""Fractions: every table entry against an enumeration of its defining relation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ablations import designs
from ablations.designs import fractions
from ablations.designs.fractions import (
    ARMS_BY_RESOLUTION,
    FIRST_ROWS,
    GENERATORS,
    build_fraction,
    build_plackett_burman,
    compute_resolution,
)
from tests.helpers.designs import ablation
from uniclip.errors import UserError

TEXTBOOK_RESOLUTIONS = {
    (3, 4): 3, (4, 8): 4, (5, 8): 3, (5, 16): 5, (6, 8): 3, (6, 16): 4, (6, 32): 6, (7, 8): 3,
    (7, 16): 4, (7, 64): 7, (8, 16): 4, (8, 64): 5, (9, 16): 3, (9, 128): 6, (10, 16): 3,
    (10, 128): 5, (11, 16): 3, (11, 128): 5, (12, 16): 3, (13, 16): 3, (14, 16): 3, (15, 16): 3,
    **{(k, 32): 4 for k in range(9, 16)},
}  # fmt: skip
"""Box, Hunter and Hunter (1978), page 410."""
SIZES = sorted(TEXTBOOK_RESOLUTIONS)


def to_signs(rows: list[tuple[bool, ...]]) -> np.ndarray:
    return np.where(np.array(rows), 1, -1)


def find_words(num_components: int, num_arms: int) -> set[frozenset[int]]:
    """Return the defining relation: all products of the generators' words."""
    num_factors = num_arms.bit_length() - 1
    if (num_components, num_arms) in GENERATORS:
        pairs = [g.split("=") for g in GENERATORS[num_components, num_arms].split()]
        words = [left + right for left, right in pairs]
    else:
        added = fractions.LETTERS[num_factors:num_components]
        words = [a + w for a, w in zip(added, fractions.ODD_PRODUCTS)]
    generators = [frozenset(fractions.LETTERS.index(c) for c in word) for word in words]
    relation = {frozenset[int]()}
    for generator in generators:
        relation |= {word ^ generator for word in relation}
    return relation - {frozenset()}


def test_every_entry_is_checked() -> None:
    assert {s for s in SIZES if s[1] != 32 or s[0] == 6} == set(GENERATORS)
    for resolution, arms_by_number in ARMS_BY_RESOLUTION.items():
        for size in arms_by_number.items():
            assert TEXTBOOK_RESOLUTIONS[size] >= resolution, size
            smaller = [s for s in SIZES if s[0] == size[0] and s[1] < size[1]]
            assert all(TEXTBOOK_RESOLUTIONS[s] < resolution for s in smaller), size
    assert {k for numbers in ARMS_BY_RESOLUTION.values() for k in numbers} >= set(range(5, 16))


@pytest.mark.parametrize("size", SIZES)
def test_a_fraction_has_its_defining_relation_and_no_other_word(size: tuple[int, int]) -> None:
    num_components, num_arms = size
    rows = build_fraction(*size)
    words = find_words(*size)
    assert len(words) == 2 ** (num_components - (num_arms.bit_length() - 1)) - 1
    assert min(map(len, words)) == TEXTBOOK_RESOLUTIONS[size] == compute_resolution(rows)
    assert len(set(rows)) == num_arms
    assert all(rows[0])
    signs = to_signs(rows)
    for word in words:
        assert (signs[:, sorted(word)].prod(1) == 1).all()
    np.testing.assert_array_equal(signs.T @ signs, num_arms * np.eye(num_components))


@pytest.mark.parametrize("num_arms", FIRST_ROWS)
def test_plackett_burman_designs_are_orthogonal(num_arms: int) -> None:
    rows = build_plackett_burman(num_arms - 1, num_arms)
    signs = to_signs(rows)
    assert signs.shape == (num_arms, num_arms - 1)
    assert all(rows[0])
    assert len(set(rows)) == num_arms
    np.testing.assert_array_equal(signs.T @ signs, num_arms * np.eye(num_arms - 1))
    assert (signs.sum(0) == 0).all()


def test_plackett_burman_of_twelve_arms_has_partial_aliases_of_a_third() -> None:
    signs = to_signs(build_plackett_burman(11, 12))
    for i, j, k in itertools.combinations(range(11), 3):
        assert abs(signs[:, i] @ (signs[:, j] * signs[:, k])) == 4


def test_resolution_of_all_combinations_is_0() -> None:
    assert compute_resolution(list(itertools.product((True, False), repeat=3))) == 0


@pytest.mark.parametrize(
    ("k", "resolution", "num_arms"), [(5, 3, 8), (6, 4, 16), (6, 5, 32), (12, 4, 32), (15, 3, 16)]
)
def test_a_fractional_design_has_the_fewest_arms_of_its_resolution(
    k: int, resolution: int, num_arms: int
) -> None:
    arms = designs.build_arms(ablation(k, "fractional", resolution=resolution))
    assert len(arms) == num_arms
    assert list(arms)[0] == "full"
    assert all(a.role == "crossed" for a in arms.values())


def test_arms_are_named_by_what_is_on_and_keep_their_names_in_a_fold_over() -> None:
    names = [
        list(designs.build_arms(ablation(5, "fractional", resolution=3, fold_over=f)))
        for f in ((), ("a",), ("all",))
    ]
    assert names[0][:2] == ["full", "on-11010"]
    for folded in names[1:]:
        assert len(folded) == 16
        assert set(names[0]) < set(folded)


def test_a_fold_over_of_all_components_clears_main_effects() -> None:
    rows = build_fraction(7, 8)
    it = ablation(7, "fractional", resolution=3, fold_over=("all",))
    assert (compute_resolution(rows), compute_resolution(fractions.fold(rows, it))) == (3, 4)


@pytest.mark.parametrize(
    ("design", "k", "more", "match"),
    [
        ("fractional", 15, {"resolution": 5}, "resolution 5 for 15 components; there are those"),
        ("fractional", 2, {}, "no fractional design of resolution 4 for 2 components"),
        ("fractional", 6, {"fold_over": ("z",)}, "fold_over: z is neither all nor one of a, b"),
        ("fractional", 6, {"requires": {"a": ("b",)}}, "a requires b"),
        ("plackett_burman", 6, {"excludes": {"a": ("b",)}}, "a excludes b"),
    ],
)
def test_designs_that_do_not_exist_are_refused(
    design: str, k: int, more: dict[str, object], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        designs.build_arms(ablation(k, design, **more))


def test_too_many_components_have_no_plackett_burman_design() -> None:
    names = tuple(f"c{i}" for i in range(24))
    with pytest.raises(UserError, match="24 components, at most 23"):
        designs.build_arms(
            ablation(0, "plackett_burman").__class__(
                name="t", title="T", design="plackett_burman", components=names
            )
        )
