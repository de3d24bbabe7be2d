"""The images and labels of another data set, for another kind of evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName


@dataclass(frozen=True)
class SameImagesReader(SplitReader):
    """Reads what another data set reads; its held-out images are the same, too."""

    source: Dataset

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        opened = self.source.open(root, split)
        return replace(opened, name=dataset.name, kind=dataset.kind, metric=dataset.metric)

    def read_templates(self, root: Path) -> tuple[str, ...]:
        return self.source.reader.read_templates(root)

    def read_class_names(self, root: Path) -> dict[str, tuple[str, ...]]:
        return self.source.reader.read_class_names(root)

    def list_files(self, root: Path, split: SplitName) -> list[str] | None:
        return self.source.reader.list_files(root, split)
