"""Copies of evaluation sets as DataComp publishes them: WebDataset shards and their prompts.

    wds_<key>_test/{classnames.txt, zeroshot_classification_templates.txt}
    wds_<key>_test/test/{nshards.txt, 0.tar, 1.tar, ...}

The layout is that of DataComp's `download_evalsets.py` and `eval_utils/wds_eval.py`. Where a worst
group is scored, a sample has its metadata as `.npy`, a row of whole numbers whose columns
`eval_utils/wilds_eval.py` and `eval_utils/fairness_eval.py` list.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.datasets.readers.webdataset import (
    CLASSES_FILE,
    TEMPLATES_FILE,
    ShardReader,
    ShardSample,
    decode_array,
    decode_labels,
    read_samples,
    require_members,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from uniclip.data.split import SplitName


@dataclass(frozen=True)
class DatacompReader(SplitReader):
    """Reads the test split of a copy."""

    folder: str
    """Folder of the copy under the data root."""
    group_column: int | None = None
    """Column of the metadata with the group of an image; None: there are no groups."""
    groups_left_out: tuple[int, ...] = ()
    """Groups that are not scored."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / self.folder
        num_shards = int((folder / split / "nshards.txt").read_text())
        samples = [
            sample
            for i in range(num_shards)
            for sample in read_samples(folder / split / f"{i}.tar")
        ]
        require_members(samples, "cls", *([] if self.group_column is None else ["npy"]))
        if not samples:
            raise UserError(f"{folder / split} has no samples; {dataset.download_hint}")
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(sample.key for sample in samples),
            reader=StoredShardReader(tuple(s.location for s in samples if s.location is not None)),
            groups=self._read_groups(samples),
            **decode_labels("classification", folder, [sample.fields for sample in samples]),
        )

    def read_templates(self, root: Path) -> tuple[str, ...]:
        path = root / self.folder / TEMPLATES_FILE
        rows = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        templates = [row.replace("{c}", "{}") for row in rows if row]
        return prompts.validate_templates(templates, str(path))

    def _read_groups(self, samples: Sequence[ShardSample]) -> NDArray[np.int64] | None:
        import numpy as np

        if self.group_column is None:
            return None
        columns = [decode_array(sample.fields["npy"])[self.group_column] for sample in samples]
        groups = np.array(columns, np.int64)
        groups[np.isin(groups, self.groups_left_out)] = -1
        return groups


class StoredShardReader(ShardReader):
    """Images within shards, with their orientation as stored."""

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        from PIL import Image

        path, start, length = self.locations[i]
        with open(path, "rb") as stream:
            stream.seek(start)
            with Image.open(io.BytesIO(stream.read(length))) as image:
                return image.convert("RGB")


def list_files(folder: str) -> tuple[str, ...]:
    """Return the files and folders of a copy, relative to the data root."""
    return (
        f"{folder}/test/nshards.txt",
        f"{folder}/test",
        f"{folder}/{CLASSES_FILE}",
        f"{folder}/{TEMPLATES_FILE}",
    )
