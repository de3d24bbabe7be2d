"""Splits whose images are decoded from the user's files, by the rule of `uniclip.io.rgb_image`.

Some of the images may be unreadable: they are counted and named, and training replaces them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from uniclip.augmentation.resample import REDUCED_FROM, Photograph, make_photograph
from uniclip.data.split import Split
from uniclip.errors import UserError
from uniclip.io import rgb_image
from uniclip.io.plain_jpeg import decode_plain_jpeg

UNREADABLE = Photograph(np.zeros((1, 1, 3), np.uint8), square_size=1)
"""Stands for a photograph that cannot be read."""
MAX_LISTED = 20
"""Unreadable images that an error lists; it counts the others."""


Decoded = TypeVar("Decoded")


def read_photograph(file: Path | BytesIO, square_size: int) -> Photograph:
    """Return an image file as views are made of it.

    square_size: Side of the square that the evaluation transform makes of it, in pixels.

    Raises:
        UnreadableImageError: It cannot be decoded.
    """
    content = BytesIO(rgb_image.read_content(file)) if isinstance(file, Path) else file
    # A larger one is decoded at a fraction of its size.
    pixels = decode_plain_jpeg(content, max_short_side=REDUCED_FROM * square_size - 1)
    if pixels is not None:
        return Photograph(pixels, square_size)
    return make_photograph(rgb_image.read_source_image(content, square_size), square_size)


@dataclass(frozen=True, kw_only=True)
class ImageFileSplit(Split):
    """A split of image files; subclasses name and decode them."""

    has_image_files: ClassVar[bool] = True
    removal: ClassVar[tuple[str, str]] = ("remove it", "remove them")
    """What else to do about one unreadable image, and about several."""

    image_size: int
    """Side of the square that the evaluation transform makes of an image, in pixels."""
    max_broken: float = 0.0
    """`data.max_broken`, for messages."""
    num_allowed: int = 0
    """Samples that may be unusable, those that were skipped already included."""
    num_samples: int | None = None
    """The samples, skipped ones included, of which `num_allowed` is a fraction; None = those of the
    split."""
    faults: dict[int, str] = field(default_factory=dict, compare=False)
    """Index of an image that could not be read -> why; one entry for each that was tried."""

    @abstractmethod
    def name_image(self, i: int) -> str:
        """Return where an image is, for messages."""

    @abstractmethod
    def get_image_file(self, i: int) -> Path | BytesIO:
        """Return the file of an image, or its content."""

    def load_image(self, i: int) -> NDArray[np.uint8] | None:
        """Return an image (3, H, W); None, with an entry in `faults`, if it cannot be read."""
        return self._decode(i, rgb_image.read_square)

    def load_photograph(self, i: int) -> Photograph | None:
        """Return what views are made of; None, with an entry in `faults`, if it cannot be read."""
        return self._decode(i, read_photograph)

    def _decode(self, i: int, read: Callable[[Path | BytesIO, int], Decoded]) -> Decoded | None:
        """Return an image as `read` does, or None if it cannot be read."""
        if i in self.faults:
            return None
        try:
            return read(self.get_image_file(i), self.image_size)
        except rgb_image.UnreadableImageError as error:
            self.faults[i] = str(error)
            return None

    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the source images; `UserError` names all of them that cannot be read."""
        pixels, is_readable = self.load_readable_pixels(index)
        if not is_readable.all():
            unreadable = sorted({int(i) for i in index[~is_readable]})
            is_one = len(unreadable) == 1
            raise UserError(
                f"{self._list_unreadable(unreadable)}; repair {'it' if is_one else 'them'} or "
                f"{self.removal[not is_one]}"
            )
        return pixels

    def load_readable_pixels(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        pixels = np.zeros((len(index), 3, self.image_size, self.image_size), np.uint8)
        is_readable = np.ones(len(index), np.bool_)
        for position, i in enumerate(index.tolist()):
            image = self.load_image(i)
            if image is None:
                is_readable[position] = False
            else:
                pixels[position] = image
        return pixels, is_readable

    def load_view_sources(
        self, index: NDArray[np.int64]
    ) -> tuple[list[Photograph], NDArray[np.bool_]]:
        photographs = [self.load_photograph(i) for i in index.tolist()]
        is_readable = np.array([photograph is not None for photograph in photographs], np.bool_)
        return [photograph or UNREADABLE for photograph in photographs], is_readable

    def describe_unreadable(self, i: int) -> str:
        """Return place and fault of an image; it is tried again if this process did not."""
        if i not in self.faults and self.load_image(i) is not None:
            fault = "could not be read, and can be now"
        else:
            fault = f"cannot be read ({self.faults[i]})"
        return f"{self.name_image(i)} {fault}"

    def check_unreadable(self, index: Sequence[int]) -> None:
        num_unusable = len(index) + self.num_skipped
        if self.num_samples is None:
            samples = f"{len(self) + self.num_skipped} training images"
        else:
            samples = f"{self.num_samples} samples"
        if not index or num_unusable <= self.num_allowed:
            return
        raise UserError(
            f"{num_unusable} of {samples} cannot be used, more than "
            f"data.max_broken={self.max_broken:g} allows: {self._list_unreadable(index)}; "
            "repair them or raise data.max_broken"
        )

    def _list_unreadable(self, index: Sequence[int]) -> str:
        texts = [self.describe_unreadable(i) for i in index[:MAX_LISTED]]
        if len(index) > MAX_LISTED:
            texts.append(f"and {len(index) - MAX_LISTED} more")
        return "; ".join(texts)
