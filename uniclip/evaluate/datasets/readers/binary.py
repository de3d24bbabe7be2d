"""Data sets stored as arrays: idx files of MNIST, raw bytes of STL-10, HDF5 of PatchCamelyon."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader, locate
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset, ImageReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from uniclip.data.split import SplitName

FASHION_MNIST_CLASSES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
"""Names of Fashion-MNIST's labels, from its README."""
MNIST_CLASSES = tuple("0123456789")
STL10_IMAGE_SIZE = 96


@dataclass(frozen=True)
class IdxReader(SplitReader):
    """Idx files of 28 x 28 grey images: MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017,
    Debian's package too)."""

    classes: tuple[str, ...]

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        images, labels = (read_idx(locate(root, pattern)) for pattern in dataset.files[split])
        return _build_labelled_dataset(
            dataset, split, ArrayReader(images), labels, len(images), self.classes
        )


class Stl10Reader(SplitReader):
    """STL-10 (Coates et al. 2011): labels count from 1, pixels are stored column by column.

    torchvision refuses other files by checksum, and requires the 2.6 GB without labels.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        folder = root / "stl10_binary"
        rows = np.memmap(folder / f"{split}_X.bin", np.uint8, "r")
        pixels = rows.reshape(-1, 3, STL10_IMAGE_SIZE, STL10_IMAGE_SIZE).transpose(0, 3, 2, 1)
        labels = np.fromfile(folder / f"{split}_y.bin", np.uint8).astype(np.int64) - 1
        names = (folder / "class_names.txt").read_text(encoding="ascii").split()
        return _build_labelled_dataset(
            dataset, split, ArrayReader(pixels), labels, len(pixels), tuple(names)
        )


class PcamReader(SplitReader):
    """PatchCamelyon (Veeling et al. 2018): 96 x 96; class "1" is tumour tissue at the centre."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import h5py
        import numpy as np

        file_split = "valid" if split == "validation" else split
        stem = root / "pcam" / f"camelyonpatch_level_2_split_{file_split}"
        with h5py.File(f"{stem}_y.h5") as file:
            labels = np.asarray(file["y"]).reshape(-1).astype(np.int64)
        with h5py.File(f"{stem}_x.h5") as file:
            n = len(file["x"])
        return _build_labelled_dataset(
            dataset, split, Hdf5Reader(Path(f"{stem}_x.h5")), labels, n, ("0", "1")
        )


@dataclass(frozen=True)
class Hdf5Reader:
    """Images in the array "x" of an HDF5 file, opened for each image: several processes may read
    it."""

    path: Path

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        import h5py
        from PIL import Image

        with h5py.File(self.path) as file:
            return Image.fromarray(file["x"][i]).convert("RGB")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in an idx file of bytes, compressed by gzip or not."""
    import numpy as np

    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
        header = stream.read(4)
        if header[:3] != b"\0\0\x08":
            raise UserError(f"{path} is not an idx file of bytes; download it again")
        shape = [int.from_bytes(stream.read(4), "big") for _ in range(header[3])]
        values = np.frombuffer(stream.read(), np.uint8)
    if values.size != math.prod(shape):
        raise UserError(f"{path} holds {values.size} bytes where its header says {shape}")
    return values.reshape(shape)


def _build_labelled_dataset(
    dataset: Dataset,
    split: SplitName,
    reader: ImageReader,
    labels: NDArray[np.integer[Any]],
    n: int,
    classes: tuple[str, ...],
) -> ImageDataset:
    """Build a split of n images whose ids are their positions."""
    import numpy as np

    if len(labels) != n or n == 0 or not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(
            f"{dataset.name}: {n} {split} images and {len(labels)} labels do not match; "
            f"{dataset.download_hint}"
        )
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(f"{split}/{i}" for i in range(n)),
        reader=reader,
        labels=labels.astype(np.int64),
        classes=classes,
    )
