"""Captions of scenes."""

from __future__ import annotations

from uniclip.data.scenes import attributes


def test_captions_mention_all_attributes_or_some():
    row = dict(count=1, size=0, colour=0, texture=1, shape=0, side=0)
    assert attributes.format_caption(row) == "two small red striped discs on the left"
    assert (
        attributes.format_caption([0, 1, 6, 0, 3, 1]) == "one large grey plain cross on the right"
    )
    assert attributes.format_caption([2, 1, 6, 0, 3, 1]).split()[4] == "crosses"
    omitted = dict(count=False, shape=False, side=False)
    assert attributes.format_caption(row, omitted) == "small red striped shapes"
