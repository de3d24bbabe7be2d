"""Any CSV of pictures and captions, checked row by row as training's `data=csv` checks it."""

from __future__ import annotations

from pathlib import Path

from uniclip.config import CsvData
from uniclip.data.csv.rows import read as read_rows
from uniclip.data.split import Part
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Files, Pictures


def read(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """All pictures of the CSV, with their captions; `UserError` names a faulty line."""
    (name,) = dataset.files[part]
    samples = read_rows(CsvData(path=str(root / name)))
    return Pictures(
        name=dataset.name,
        part=part,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(s.path for s in samples),
        read=Files(tuple(root / s.path for s in samples)),
        captions=tuple(tuple(s.captions) for s in samples),
    )
