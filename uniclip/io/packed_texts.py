"""Many texts in two arrays, which take no more memory than their bytes and may be mapped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.io.lazy_sequence import LazySequence


@dataclass(frozen=True, eq=False)
class PackedTexts(LazySequence[str]):
    """n texts, decoded where they are asked for."""

    content: NDArray[np.uint8]
    """The texts in UTF-8, one after the other."""
    ends: NDArray[np.integer[Any]]
    """(n,) end of each text."""

    @classmethod
    def pack(cls, texts: Iterable[str]) -> PackedTexts:
        """Return texts, packed."""
        content, ends = bytearray(), []
        for text in texts:
            content += encode_text(text)
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def locate(self, rows: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return start and end of each of some texts."""
        starts = np.where(rows > 0, self.ends[np.maximum(rows, 1) - 1], 0)
        return starts.astype(np.int64), self.ends[rows].astype(np.int64)

    def count_bytes(self, rows: NDArray[np.integer[Any]]) -> int:
        """Return the bytes of some texts together."""
        starts, stops = self.locate(rows)
        return int((stops - starts).sum())

    def read(self, rows: NDArray[np.integer[Any]]) -> list[str]:
        """Return some of the texts."""
        starts, stops = self.locate(rows)
        content = np.ascontiguousarray(self.content).data
        return [decode_text(bytes(content[a:b])) for a, b in zip(starts.tolist(), stops.tolist())]

    def get_item(self, i: int) -> str:
        i = range(len(self))[i]
        start = int(self.ends[i - 1]) if i else 0
        return decode_text(self.content[start : int(self.ends[i])].tobytes())


def encode_text(text: str) -> bytes:
    """Return a text in UTF-8; names of files may have bytes that are not (surrogates)."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(content: bytes) -> str:
    """Return the text of `encode_text`."""
    return content.decode("utf-8", "surrogateescape")
