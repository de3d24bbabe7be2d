"""Any CSV of pictures and captions, checked row by row as training's `data=csv` checks it."""

from __future__ import annotations

from pathlib import Path

from uniclip.config import CsvData
from uniclip.data.csv.rows import read_samples as read_rows
from uniclip.data.split import SplitName
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import FileReader, ImageDataset


def read(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """All pictures of the CSV, with their captions; `UserError` names a faulty line."""
    (name,) = dataset.files[split]
    samples = read_rows(CsvData(path=str(root / name)))
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(s.path for s in samples),
        reader=FileReader(tuple(root / s.path for s in samples)),
        captions=tuple(tuple(s.captions) for s in samples),
    )
