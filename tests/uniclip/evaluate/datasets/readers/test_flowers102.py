"""Oxford Flowers 102: labels and splits in MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets


def test_classes_are_the_labels_of_the_file(tmp_path: Path) -> None:
    truth = dataset_trees.flowers102(tmp_path)
    images = datasets.get("flowers102").open(tmp_path, "test")
    assert images.classes == tuple(str(label) for label in range(1, 103))
    assert images.labels is not None
    assert list(zip(images.ids, images.labels.tolist())) == truth.rows["test"]


@pytest.mark.parametrize("labels", [[1], [0] * 500, [103] * 500])
def test_files_that_do_not_match_are_refused(tmp_path: Path, labels: list[int]) -> None:
    dataset_trees.flowers102(tmp_path)
    path = tmp_path / "flowers-102/imagelabels.mat"
    savemat(path, {"labels": np.array([labels], np.uint8)})
    with pytest.raises(UserError, match=r"imagelabels\.mat and setid\.mat do not match"):
        datasets.get("flowers102").open(tmp_path, "test")
