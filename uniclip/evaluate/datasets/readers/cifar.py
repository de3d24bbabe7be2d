"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): pickles of Python 2, read by a restricted unpickler.

It builds arrays, lists, dictionaries and text, and nothing else. torchvision unpickles anything,
and refuses files other than the published ones by checksum.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

MULTIARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


@dataclass(frozen=True)
class CifarReader(SplitReader):
    """Images (n, 32, 32, 3) in memory; of CIFAR-100 the fine labels."""

    batches: dict[SplitName, tuple[str, ...]]
    """The pickles of each split, relative to the data root."""
    metadata_file: str
    names_key: str
    """Key of the class names in the metadata file."""
    labels_key: str
    """Key of the labels in the pickles."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        files = self.batches[split]
        batches = [safe_unpickle(root / name) for name in files]
        rows = np.concatenate([np.asarray(b["data"], np.uint8) for b in batches])
        class_names = safe_unpickle(root / self.metadata_file)[self.names_key]
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(
                f"{Path(name).name}/{i}"
                for name, b in zip(files, batches)
                for i in range(len(b[self.labels_key]))
            ),
            reader=ArrayReader(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)),
            labels=np.concatenate([np.asarray(b[self.labels_key], np.int64) for b in batches]),
            classes=tuple(str(name) for name in class_names),
        )


def safe_unpickle(path: Path) -> Any:
    """Return the plain containers and arrays of a pickle; `UserError` if it needs anything else."""
    try:
        with open(path, "rb") as stream:
            return _SafeUnpickler(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, MemoryError) as error:
        raise UserError(
            f"{path} is not a file of this data set ({error}); download it again"
        ) from None


class _SafeUnpickler(pickle.Unpickler):
    """Admits what arrays are pickled with, under numpy's module names of any version."""

    def find_class(self, module: str, name: str) -> Any:
        import numpy as np

        allowed = {
            ("multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],  # type: ignore[index]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _encode_latin1,
        }
        module_name = "multiarray" if module in MULTIARRAY_MODULES else module
        if (module_name, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no image needs")
        return allowed[module_name, name]


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Return bytes of Python 2 as Python 3 writes them in its pickle protocol."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")
