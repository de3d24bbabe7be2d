"""Texts packed into two arrays."""

from __future__ import annotations

import pytest

from uniclip.io.packed_texts import PackedTexts

TEXTS = ["a dog", "", "größe", "日本", "bad \udcff byte"]


def test_texts_come_back_as_they_were():
    packed = PackedTexts.pack(iter(TEXTS))
    assert len(packed) == len(TEXTS)
    assert list(packed) == TEXTS
    assert packed[-1] == TEXTS[-1]
    assert packed[1:3] == TEXTS[1:3]
    with pytest.raises(IndexError):
        packed[5]
    assert list(PackedTexts.pack([])) == []
