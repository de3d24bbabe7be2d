"""Oxford Flowers 102 (Nilsback and Zisserman 2008): labels and splits in MATLAB files.

torchvision refuses other files by checksum; here checksums are verified by `data check`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

SPLIT_KEYS = {"train": "trnid", "validation": "valid", "test": "tstid"}
"""As published: 1,020 to train, 6,149 to test (some papers swap them)."""
NUM_CLASSES = 102


class Flowers102Reader(SplitReader):
    """Classes are the labels of the file, "1" to "102": it holds no names."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np
        from scipy.io import loadmat

        folder = root / "flowers-102"
        image_numbers = loadmat(str(folder / "setid.mat"))[SPLIT_KEYS[split]].ravel()
        labels = loadmat(str(folder / "imagelabels.mat"))["labels"].ravel().astype(np.int64)
        if (
            len(labels) < image_numbers.max(initial=0)
            or not 1 <= labels.min() <= labels.max() <= NUM_CLASSES
        ):
            raise UserError(f"{folder}: imagelabels.mat and setid.mat do not match")
        files = [
            (f"image_{i:05d}", folder / f"jpg/image_{i:05d}.jpg", int(labels[i - 1]) - 1)
            for i in map(int, image_numbers)
        ]
        classes = [str(c + 1) for c in range(NUM_CLASSES)]
        return build_classification_dataset(dataset, split, files, classes)
