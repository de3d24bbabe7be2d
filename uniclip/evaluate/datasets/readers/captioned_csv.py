"""Any table of images and captions, read by the rules of the training source `data=csv`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.data.csv import content
from uniclip.data.csv.rows import read_evaluation_samples
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset, UserFileReader

if TYPE_CHECKING:
    from uniclip.data.split import SplitName


class CaptionedCsvReader(SplitReader):
    """All images of the table with their captions; `UserError` names all faulty lines."""

    digests_all_files = True

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        (name,) = dataset.files[split]
        samples = read_evaluation_samples(str(root / name))
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(s.path for s in samples),
            reader=UserFileReader(tuple(root / s.path for s in samples)),
            captions=tuple(tuple(s.captions) for s in samples),
        )

    def compute_digests(self, root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
        """Digest the table as a whole, and the names and sizes of its images.

        So a faulty row is found when a sweep is planned, and not after its training.
        """
        (name,) = patterns
        return {
            "table": content.digest_csv_file(root / name),
            "images": content.digest_image_list(read_evaluation_samples(str(root / name))),
        }
