"""CIFAR's pickles are read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers import cifar


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    dataset_trees.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py/test_batch"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    path.write_bytes(pickle.dumps({"data": Evil(), "labels": [0]}))
    with pytest.raises(UserError, match=r"mkdir, which no image needs"):
        datasets.get("cifar10").open(tmp_path, "test")
    assert not (tmp_path / "pwned").exists()
    path.write_bytes(b"\x80\x02}q")
    with pytest.raises(UserError, match="test_batch is not a file of this data set"):
        datasets.get("cifar10").open(tmp_path, "test")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_pickled_by_python_3_are_read(protocol: int, tmp_path: Path) -> None:
    value = {"data": np.arange(6, dtype=np.uint8), "labels": [1]}
    (tmp_path / "file").write_bytes(pickle.dumps(value, protocol=protocol))
    if protocol == 5:
        with pytest.raises(UserError, match="_frombuffer"):
            cifar.safe_unpickle(tmp_path / "file")
    else:
        assert cifar.safe_unpickle(tmp_path / "file")["data"].tolist() == [0, 1, 2, 3, 4, 5]
