"""The format of WinoGAViL."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.winogavil_tree import write_tree
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers.winogavil import build_prompt


def test_the_format_is_read(tmp_path: Path) -> None:
    write_tree(tmp_path)
    opened = datasets.get("winogavil").open(tmp_path, "test")
    assert len(opened) == 15
    assert opened.ids[:2] == ("0/eagle", "0/teepee")
    assert opened.labels.tolist() == [1, 0, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert opened.pairs.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert opened.picture_rows.tolist() == [0, 1, 2, 3, 4] * 3
    assert opened.captions[5] == ("An orange",)
    assert build_prompt("West") == "A west"
