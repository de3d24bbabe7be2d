"""One opened split of an evaluation data set, whatever its format on disk: images and labels.

Opening a split reads index files only; an image is decoded when it is loaded. numpy and Pillow are
imported when a split is opened, so that the catalogue of data sets can be imported without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, cast

from uniclip.errors import UserError
from uniclip.io import rgb_image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from uniclip.data.split import SplitName
    from uniclip.evaluate.datasets.dataset import Dataset
    from uniclip.evaluate.metrics import Metric

DatasetKind = Literal[
    "classification",
    "multilabel",
    "retrieval",
    "composition",
    "association",
    "few_shot",
    "fine_tuning",
]
CAPTIONED_KINDS = ("retrieval", "composition", "association")
"""Kinds of data sets whose images have captions; the others have class names."""
DOWNLOAD_AGAIN = "download the data set again"


class ImageReader(Protocol):
    """Decodes the images of a split; picklable, for data workers."""

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`, RGB; OSError, ValueError or SyntaxError if it cannot be read."""


class LocatedImageReader(ImageReader, Protocol):
    """A reader of a user's images, which knows where their bytes are."""

    def locate(self, i: int) -> tuple[str, int, int | None]:
        """Return file, first byte and number of bytes (None = all) of image `i`."""


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """n images in a fixed order, with labels or captions."""

    name: str
    """Name of the data set."""
    split: SplitName
    kind: DatasetKind
    metric: Metric
    ids: tuple[str, ...]
    """Id of each image, unique within the split: the key of its features and outcomes."""
    reader: ImageReader
    labels: NDArray[np.int64] | None = None
    """Classification: (n,) class indices. Multi-label: (n, classes), 0 or 1. Composition: (n,)
    categories. Association: (n,) 1 = associated. Retrieval: None."""
    groups: NDArray[np.int64] | None = None
    """(n,) group of each image, of which the worst one is scored; -1: in none."""
    difficult: NDArray[np.bool_] | None = None
    """Multi-label: (n, classes), True where the class is excluded from that image's score."""
    classes: tuple[str, ...] = ()
    """The data set's key of each class (folder, synset, name in its label file), by label."""
    captions: tuple[tuple[str, ...], ...] = ()
    """Retrieval: one or more captions of each image as in the file, duplicates included.
    Composition: the correct caption of each image, then wrong ones. Association: the cue."""
    pairs: NDArray[np.int64] | None = None
    """Composition: (n,) number of the pair of images to which an image belongs, where the wrong
    caption of an image is the correct one of the other; None if there are no pairs. Association:
    number of the cue of which an image is a candidate."""
    picture_rows: NDArray[np.int64] | None = None
    """(n,) number of the picture that each image shows, where several show the same: its row in the
    split of `Dataset.source`, or else counted by first appearance. None: all are different."""
    photograph_rows: NDArray[np.int64] | None = None
    """(n,) number of the photograph of which each image is a part, counted by first appearance.
    None: an image is a whole picture."""

    def __post_init__(self) -> None:
        shape = (len(self), len(self.classes)) if self.kind == "multilabel" else (len(self),)
        assert self.kind == "retrieval" or (self.labels is not None and self.labels.shape == shape)
        assert self.kind not in CAPTIONED_KINDS or len(self.captions) == len(self)
        assert self.difficult is None or self.difficult.shape == shape
        if len(set(self.ids)) < len(self):
            raise UserError(f"{self.name} lists an image twice in its {self.split} split")

    def __len__(self) -> int:
        return len(self.ids)

    def load_image(self, i: int) -> Image.Image:
        """Return image `i` as RGB; `UserError` names an image that cannot be read."""
        from PIL import Image

        if not 0 <= i < len(self):
            raise IndexError(i)
        try:
            return self.reader(i)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            message = (str(error).splitlines() or [type(error).__name__])[0]
            fix = "repair it or leave it out" if self.is_user_defined else DOWNLOAD_AGAIN
            raise UserError(
                f"{self.name}: image {self.ids[i]} cannot be read ({message}); {fix}"
            ) from None

    def load_photograph(self, i: int) -> Image.Image:
        """Return all of the photograph of which image `i` is a part; errors as of `load_image`."""
        whole = getattr(self.reader, "whole", None)
        return (self if whole is None else replace(self, reader=whole)).load_image(i)

    @property
    def cluster_rows(self) -> NDArray[np.int64] | None:
        """(n,) number of the photograph of each image; None if all are different."""
        return self.picture_rows if self.photograph_rows is None else self.photograph_rows

    def find_distinct_images(self) -> NDArray[np.int64] | None:
        """Return the first image of each picture, (m,); None if all n show different ones."""
        import numpy as np

        if self.picture_rows is None:
            return None
        return np.unique(self.picture_rows, return_index=True)[1].astype(np.int64)

    @property
    def is_user_defined(self) -> bool:
        """Whether the user defined the data set (`uniclip.evaluate.datasets.custom`)."""
        return ":" in self.name

    def subset(self, index: NDArray[np.int64], split: SplitName) -> ImageDataset:
        """Return the images `index` (m,), in that order, as split `split`."""
        import numpy as np

        assert self.cluster_rows is None, "a subset would have to number its pictures anew"
        return replace(
            self,
            split=split,
            ids=tuple(self.ids[i] for i in index),
            reader=SubsetReader(self.reader, np.asarray(index, np.int64)),
            labels=None if self.labels is None else self.labels[index],
            groups=None if self.groups is None else self.groups[index],
            difficult=None if self.difficult is None else self.difficult[index],
            captions=tuple(self.captions[i] for i in index) if self.captions else (),
            pairs=None if self.pairs is None else self.pairs[index],
        )


@dataclass(frozen=True)
class FileReader:
    """Images that are one file each, read as published protocols do: orientation as stored."""

    paths: tuple[str | Path, ...]

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        from PIL import Image

        with Image.open(self.paths[i]) as image:
            return image.convert("RGB")


@dataclass(frozen=True)
class UserFileReader(FileReader):
    """Images of the user that are one file each, by the rule of `uniclip.io.rgb_image`."""

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        return rgb_image.read_rgb_image(self.paths[i])

    def locate(self, i: int) -> tuple[str, int, int | None]:
        """Return file, first byte and number of bytes (None = all) of image `i`."""
        return str(self.paths[i]), 0, None


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Images in memory or a memory map: (n, H, W) grey or (n, H, W, 3), uint8."""

    pixels: NDArray[np.uint8]

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        import numpy as np
        from PIL import Image

        return Image.fromarray(np.ascontiguousarray(self.pixels[i])).convert("RGB")


@dataclass(frozen=True, eq=False)
class SubsetReader:
    """Some images of another reader."""

    reader: ImageReader
    index: NDArray[np.int64]

    def __call__(self, i: int) -> Image.Image:
        """Return image `i` of the subset."""
        return self.reader(int(self.index[i]))

    def locate(self, i: int) -> tuple[str, int, int | None]:
        """Return file, first byte and number of bytes of image `i` of the subset."""
        return cast("LocatedImageReader", self.reader).locate(int(self.index[i]))


def build_classification_dataset(
    dataset: Dataset,
    split: SplitName,
    files: Sequence[tuple[str, str | Path, int]],
    classes: Sequence[str],
    reader_class: type[FileReader] = FileReader,
) -> ImageDataset:
    """Build a classification split from (id, file, label) of each image.

    reader_class: what decodes the images of a published data set.
    """
    import numpy as np

    if not files:
        raise UserError(f"{dataset.name} lists no {split} images; {dataset.download_hint}")
    if dataset.user_folder is not None:
        reader_class = UserFileReader
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(f[0] for f in files),
        reader=reader_class(tuple(f[1] for f in files)),
        labels=np.array([f[2] for f in files], np.int64),
        classes=tuple(classes),
    )
