"""Copies of evaluation sets as DataComp and CLIP_benchmark publish them: shards and prompts.

    wds_<key>_test/{classnames.txt, zeroshot_classification_templates.txt}
    wds_<key>_test/test/{nshards.txt, 0.tar, 1.tar, ...}

The layout is that of DataComp's `download_evalsets.py` and `eval_utils/wds_eval.py`, and of
CLIP_benchmark's `webdataset_builder.py`, whose copies may have a folder `train` as well. Where a
worst group is scored, a sample has its metadata as `.npy`, a row of whole numbers whose columns
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
    LABEL_EXTENSION,
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
    """Reads a copy."""

    folder: str
    """Folder of the copy under the data root."""
    group_column: int | None = None
    """Column of the metadata with the group of an image; None: there are no groups."""
    groups_left_out: tuple[int, ...] = ()
    """Groups that are not scored."""
    class_keys: tuple[str, ...] = ()
    """The key of each class, by label; empty: its name in the copy."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / self.folder
        num_shards = int((folder / split / "nshards.txt").read_text())
        samples = [
            sample
            for i in range(num_shards)
            for sample in read_samples(folder / split / f"{i}.tar")
        ]
        group_members = [] if self.group_column is None else ["npy"]
        require_members(samples, LABEL_EXTENSION[dataset.kind], *group_members)
        if not samples:
            raise UserError(f"{folder / split} has no samples; {dataset.download_hint}")
        keys = {"classes": tuple(self.read_class_names(root))} if self.class_keys else {}
        truth = decode_labels(dataset.kind, folder, [sample.fields for sample in samples]) | keys
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(sample.key for sample in samples),
            reader=StoredShardReader(tuple(s.location for s in samples if s.location is not None)),
            groups=self._read_groups(samples),
            **truth,
        )

    def read_class_names(self, root: Path) -> dict[str, tuple[str, ...]]:
        path = root / self.folder / CLASSES_FILE
        if not path.is_file():
            return {}
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        keys = self.class_keys or names
        if len(keys) != len(names):
            raise UserError(f"{path} has {len(names)} names, and not {len(keys)}; get it again")
        return {key: (name,) for key, name in zip(keys, names)}

    def read_templates(self, root: Path) -> tuple[str, ...]:
        path = root / self.folder / TEMPLATES_FILE
        if not path.is_file():
            return ()
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


def list_files(folder: str, split: SplitName = "test", has_classes: bool = True) -> tuple[str, ...]:
    """Return the files and folders of a split of a copy, relative to the data root."""
    prompt_files = (CLASSES_FILE, TEMPLATES_FILE) if has_classes else ()
    return (
        f"{folder}/{split}/nshards.txt",
        f"{folder}/{split}",
        *(f"{folder}/{name}" for name in prompt_files),
    )
