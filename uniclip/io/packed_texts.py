"""Many texts in two arrays, which take no more memory than their bytes and may be mapped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PackedTexts(Sequence[str]):
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

    @overload
    def __getitem__(self, i: int) -> str: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...

    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        i = range(len(self))[i]
        start = int(self.ends[i - 1]) if i else 0
        return decode_text(self.content[start : int(self.ends[i])].tobytes())


def encode_text(text: str) -> bytes:
    """Return a text in UTF-8; names of files may have bytes that are not (surrogates)."""
    return text.encode("utf-8", "surrogateescape")


def decode_text(content: bytes) -> str:
    """Return the text of `encode_text`."""
    return content.decode("utf-8", "surrogateescape")
