"""The images of another data set, under another name."""

from __future__ import annotations

import pytest

from uniclip.evaluate import datasets


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_images_labels_and_held_out_ones_are_those_of_the_source(split) -> None:
    original = datasets.get("digits").open("", split)
    opened = datasets.get("digits_fewshot").open("", split)
    assert opened.ids == original.ids
    assert opened.labels.tolist() == original.labels.tolist()
    assert (opened.name, opened.kind) == ("digits_fewshot", "few_shot")
    assert opened.load_image(3).tobytes() == original.load_image(3).tobytes()
