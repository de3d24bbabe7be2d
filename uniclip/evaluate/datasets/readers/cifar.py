"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): pickles of Python 2, read by an unpickler that can
build arrays, lists, dictionaries and text, and nothing else.

torchvision unpickles freely, and refuses by checksum whatever is not the published file.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset

FILES = {
    ("cifar10", "train"): tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
    ("cifar10", "test"): ("cifar-10-batches-py/test_batch",),
    ("cifar100", "train"): ("cifar-100-python/train",),
    ("cifar100", "test"): ("cifar-100-python/test",),
}
METADATA = {
    "cifar10": ("cifar-10-batches-py/batches.meta", "label_names", "labels"),
    "cifar100": ("cifar-100-python/meta", "fine_label_names", "fine_labels"),
}


def read(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Pictures (n, 32, 32, 3) in memory; of CIFAR-100 the fine labels."""
    metadata_file, names_key, labels_key = METADATA[dataset.name]
    files = FILES[dataset.name, split]
    batches = [safe_unpickle(root / name) for name in files]
    rows = np.concatenate([np.asarray(b["data"], np.uint8) for b in batches])
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(
            f"{Path(name).name}/{i}"
            for name, b in zip(files, batches)
            for i in range(len(b[labels_key]))
        ),
        reader=ArrayReader(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)),
        labels=np.concatenate([np.asarray(b[labels_key], np.int64) for b in batches]),
        classes=tuple(str(name) for name in safe_unpickle(root / metadata_file)[names_key]),
    )


def safe_unpickle(path: Path) -> Any:
    """The plain containers and arrays in a pickle; `UserError` if it asks for anything else."""
    try:
        with open(path, "rb") as stream:
            return _SafeUnpickler(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, MemoryError) as error:
        raise UserError(f"{path} is not a file of this data set ({error}); get it again") from None


class _SafeUnpickler(pickle.Unpickler):
    """Admits what arrays are pickled with, whatever numpy's modules were called at the time."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[index]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _encode_latin1,
        }
        module_name = "multiarray" if module in _MULTIARRAY_MODULES else module
        if (module_name, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no picture needs")
        return allowed[module_name, name]


_MULTIARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Bytes of Python 2, as Python 3 writes them in its protocol."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")
