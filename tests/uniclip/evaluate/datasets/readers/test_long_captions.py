"""The formats of data sets with long captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees, long_caption_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets


@pytest.mark.parametrize("name", long_caption_trees.WRITERS)
def test_each_format_is_read(name: str, tmp_path: Path) -> None:
    rows = long_caption_trees.WRITERS[name](tmp_path)
    opened = datasets.get(name).open(tmp_path, "test")
    assert opened.ids == tuple(image_id for image_id, _ in rows)
    assert opened.captions == tuple((caption,) for _, caption in rows)
    for i in range(3):
        pixel = np.asarray(opened.load_image(i))[8, 8].astype(int)
        assert np.abs(pixel - dataset_trees.colour(i)).max() < 8, "JPEG rounds"


def test_the_training_split_of_docci_is_not_tested(tmp_path: Path) -> None:
    long_caption_trees.docci(tmp_path)
    path = tmp_path / "docci/docci_descriptions.jsonlines"
    lines = [line for line in path.read_text().splitlines() if '"split": "train"' in line]
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="docci lists no test images"):
        datasets.get("docci").open(tmp_path, "test")
