"""An absent later key is unknown, and no difference between numerics classes."""

from __future__ import annotations

import pytest

from uniclip.store.numerics_classes import (
    are_one_class,
    drop_unknown_keys,
    list_class_differences,
)

OLD = {"device": "cpu", "torch": "2"}
FIRST = {**OLD, "image_decoder": "Pillow 11"}
SECOND = {**OLD, "image_decoder": "Pillow 12"}


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (OLD, OLD, []),
        (OLD, FIRST, []),
        (FIRST, OLD, []),
        (FIRST, SECOND, ["image_decoder"]),
        (OLD, {**FIRST, "torch": "3"}, ["torch"]),
        (OLD, {**OLD, "numerics": "fast"}, ["numerics"]),
        ({}, OLD, ["device", "torch"]),
    ],
)
def test_differences(first, second, names):
    assert list_class_differences(first, second) == names


def test_an_unknown_decoder_hides_no_difference_of_others():
    assert are_one_class([OLD, FIRST, FIRST])
    assert not are_one_class([OLD, FIRST, SECOND])
    assert drop_unknown_keys([FIRST, SECOND]) == [FIRST, SECOND]
    assert drop_unknown_keys([FIRST, OLD]) == [OLD, OLD]
