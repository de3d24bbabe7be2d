"""Sets kept as arrays: MNIST's idx files, STL-10's raw bytes, PatchCamelyon's HDF5."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, locate
from uniclip.evaluate.datasets.images import Array, Pictures, Reader

FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
"""The names of Fashion-MNIST's labels, by its README."""
DIGITS = tuple("0123456789")
STL10_SIDE = 96


def mnist(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """MNIST (LeCun et al. 1998): 28 x 28, grey."""
    return _idx_set(dataset, root, part, DIGITS)


def fashion_mnist(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Fashion-MNIST (Xiao et al. 2017): 28 x 28, grey; Debian's package is found too."""
    return _idx_set(dataset, root, part, FASHION)


def stl10(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """STL-10 (Coates et al. 2011): labels count from 1, pixels go down each column first.

    torchvision refuses these by checksum, and wants the 2.6 GB without labels.
    """
    folder = root / "stl10_binary"
    rows = np.memmap(folder / f"{part}_X.bin", np.uint8, "r")
    pixels = rows.reshape(-1, 3, STL10_SIDE, STL10_SIDE).transpose(0, 3, 2, 1)
    labels = np.fromfile(folder / f"{part}_y.bin", np.uint8).astype(np.int64) - 1
    names = (folder / "class_names.txt").read_text(encoding="ascii").split()
    return _labelled(dataset, part, Array(pixels), labels, len(pixels), tuple(names))


def pcam(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """PatchCamelyon (Veeling et al. 2018): 96 x 96; "1" is tumour tissue at the centre."""
    import h5py

    own = "valid" if part == "validation" else part
    stem = root / "pcam" / f"camelyonpatch_level_2_split_{own}"
    with h5py.File(f"{stem}_y.h5") as file:
        labels = np.asarray(file["y"]).reshape(-1).astype(np.int64)
    with h5py.File(f"{stem}_x.h5") as file:
        n = len(file["x"])
    return _labelled(dataset, part, Hdf5(Path(f"{stem}_x.h5")), labels, n, ("0", "1"))


@dataclass(frozen=True)
class Hdf5:
    """Pictures in the array "x" of an HDF5 file, which is opened anew each time: it may be read by
    several processes."""

    path: Path

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`."""
        import h5py

        with h5py.File(self.path) as file:
            return Image.fromarray(file["x"][i]).convert("RGB")


def idx(path: Path) -> NDArray[np.uint8]:
    """The array in an idx file of bytes, packed by gzip or not."""
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
        head = stream.read(4)
        if head[:3] != b"\0\0\x08":
            raise UserError(f"{path} is not an idx file of bytes; get it again")
        shape = [int.from_bytes(stream.read(4), "big") for _ in range(head[3])]
        values = np.frombuffer(stream.read(), np.uint8)
    if values.size != math.prod(shape):
        raise UserError(f"{path} holds {values.size} bytes where its head says {shape}")
    return values.reshape(shape)


def _idx_set(dataset: Dataset, root: Path, part: Part, classes: tuple[str, ...]) -> Pictures:
    pictures, labels = (idx(locate(root, wanted)) for wanted in dataset.files[part])
    return _labelled(dataset, part, Array(pictures), labels, len(pictures), classes)


def _labelled(
    dataset: Dataset,
    part: Part,
    read: Reader,
    labels: NDArray[Any],
    n: int,
    classes: tuple[str, ...],
) -> Pictures:
    """Pictures named by their place."""
    if len(labels) != n or n == 0 or not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(
            f"{dataset.name}: {n} {part} pictures and {len(labels)} labels do not belong together; "
            f"{dataset.how}"
        )
    return Pictures(
        name=dataset.name,
        part=part,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(f"{part}/{i}" for i in range(n)),
        read=read,
        labels=labels.astype(np.int64),
        classes=classes,
    )
