"""Images in memory, the most recently used ones."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

ImageT = TypeVar("ImageT")


@dataclass
class ImageCache(Generic[ImageT]):
    """Index -> image, of limited size; the image that was not used for longest leaves first."""

    max_bytes: int
    """Memory for all images."""
    images: OrderedDict[int, tuple[ImageT, int]] = field(default_factory=OrderedDict)
    """Index -> the image and its memory in bytes, in the order of use."""
    num_bytes: int = 0
    """Memory of these images."""

    def get(self, i: int) -> ImageT | None:
        """Return the image at an index if it is there."""
        if i not in self.images:
            return None
        self.images.move_to_end(i)
        return self.images[i][0]

    def add(self, i: int, image: ImageT, num_bytes: int) -> None:
        """Add an image that is not there, which has so many bytes."""
        self.images[i] = (image, num_bytes)
        self.num_bytes += num_bytes
        self._remove_oldest()

    def limit(self, max_bytes: int) -> None:
        """Change the memory for all images; those that are too many leave."""
        self.max_bytes = max_bytes
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        while self.num_bytes > self.max_bytes:
            _, (_, removed_bytes) = self.images.popitem(last=False)
            self.num_bytes -= removed_bytes
