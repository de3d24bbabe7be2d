"""The splits of a CSV file; images are decoded on demand.

Splits are assigned by a hash of the path, so adding an image moves no other image.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip.config import CsvData
from uniclip.data.csv.rows import format_first_line, read_index
from uniclip.data.split import Split, SplitName
from uniclip.errors import UserError
from uniclip.io.atomic import resolve_staged_path
from uniclip.rng import hash_sample_id

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_CACHE_BYTES = 2**28
"""Memory for decoded images, in bytes a process."""


@dataclass(frozen=True, kw_only=True)
class CsvSplit(Split):
    """Images read from files."""

    csv_path: str
    """Path of the CSV file, for messages."""
    line_numbers: tuple[int, ...]
    image_paths: tuple[str, ...]
    image_size: int
    image_cache: OrderedDict[int, NDArray[np.uint8]] = field(
        default_factory=OrderedDict, compare=False
    )

    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        if len(index) == 0:
            return np.zeros((0, 3, self.image_size, self.image_size), np.uint8)
        return np.stack([self._load_image(int(i)) for i in index])

    def _load_image(self, i: int) -> NDArray[np.uint8]:
        if i in self.image_cache:
            self.image_cache.move_to_end(i)
            return self.image_cache[i]
        try:
            image = decode_image(Path(self.image_paths[i]), self.image_size)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(
                f"{self.csv_path} line {self.line_numbers[i]}: image {self.image_paths[i]} cannot "
                f"be read ({format_first_line(error)}); repair it or remove the row"
            ) from None
        self.image_cache[i] = image
        if len(self.image_cache) * image.nbytes > IMAGE_CACHE_BYTES:
            self.image_cache.popitem(last=False)
        return image


def decode_image(path: Path, image_size: int) -> NDArray[np.uint8]:
    """Return the image in a file as (3, image_size, image_size) uint8.

    Raises:
        OSError, ValueError, SyntaxError: Pillow cannot read the file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            # Decodes a JPEG at a fraction of its size.
            image.draft("RGB", (2 * image_size, 2 * image_size))
            return center_crop_and_resize(image, image_size)
    except Image.DecompressionBombError as error:
        raise ValueError(str(error)) from None


def center_crop_and_resize(image: Image, image_size: int) -> NDArray[np.uint8]:
    """Return the central square in RGB, resized (bicubic, antialiased), on a white background.

    Returns:
        (3, image_size, image_size) uint8.
    """
    from PIL import Image as pillow

    if "A" in image.getbands() or "transparency" in image.info:
        rgba_image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", rgba_image.size, "white"), rgba_image)
    image = image.convert("RGB")
    crop_size = min(image.size)
    left, top = (image.width - crop_size) // 2, (image.height - crop_size) // 2
    center_crop = image.crop((left, top, left + crop_size, top + crop_size))
    resized_image = center_crop.resize((image_size, image_size), pillow.Resampling.BICUBIC)
    return np.asarray(resized_image).transpose(2, 0, 1).copy()


def open_split(config: CsvData, split_name: SplitName) -> CsvSplit:
    """Return one split; `UserError` for the first row that cannot be used."""
    index = read_index(config)
    samples = index.samples
    class_names = tuple(sorted({sample.label for sample in samples if sample.label}))
    split_samples = [sample for sample in samples if index.get_split(sample) == split_name]
    class_indices = {name: i for i, name in enumerate(class_names)}
    labels = np.array(
        [class_indices[sample.label] if sample.label else -1 for sample in split_samples], np.int64
    )
    folders = {
        table_path: resolve_staged_path(str(Path(table_path).parent))
        for table_path in {sample.table_path for sample in split_samples}
    }
    return CsvSplit(
        ids=np.array([hash_sample_id(f"csv/{sample.path}") for sample in split_samples], np.uint64),
        captions=tuple(tuple(sample.captions) for sample in split_samples),
        labels={"label": labels} if config.label_column else {},
        class_names={"label": class_names} if config.label_column else {},
        training_labels=labels if config.label_column else None,
        sample_names=tuple(sample.path for sample in split_samples),
        csv_path=config.test_path if split_name == "test" and config.test_path else config.path,
        line_numbers=tuple(sample.line for sample in split_samples),
        image_paths=tuple(
            str(folders[sample.table_path] / sample.path) for sample in split_samples
        ),
        image_size=config.image_size,
    )
