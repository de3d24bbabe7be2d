"""Arrays that are written piece by piece to .npy files, and mapped into memory when they are read.

A mapped array is shared by all processes of a machine, and in memory only where it is used. Nothing
is pickled.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


class ArrayWriter:
    """Writes a one-dimensional array to a file; the number of its elements need not be known.

    Args:
        path: A new file.
        dtype: Type of the elements.
    """

    def __init__(self, path: Path, dtype: Any) -> None:
        self.length = 0
        """Elements so far."""
        self._dtype = np.dtype(dtype)
        self._stream: BinaryIO = open(path, "xb")
        self._write_header()
        self._header_bytes = self._stream.tell()

    def append(self, values: NDArray[Any]) -> None:
        """Append elements (n,)."""
        self._stream.write(np.ascontiguousarray(values, self._dtype).data)
        self.length += len(values)

    def _write_header(self) -> None:
        # NumPy leaves room in the header, in which the first dimension may grow.
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.length,),
        }
        np.lib.format.write_array_header_1_0(self._stream, header)

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the file and flush it to the disk; after an error, only close it."""
        with self._stream:
            if error is None:
                self._stream.seek(0)
                self._write_header()
                assert self._stream.tell() == self._header_bytes, "the header has grown"
                self._stream.flush()
                os.fsync(self._stream.fileno())


def has_array(path: Path, dtype: Any, length: int) -> bool:
    """Return whether a file holds a whole array (length,) of a type, and nothing else."""
    return has_shape(path, dtype, (length,))


def has_shape(path: Path, dtype: Any, shape: tuple[int, ...]) -> bool:
    """Return whether a file holds a whole array of a type and shape, and nothing else."""
    try:
        array = map_array(path)
        offset = path.stat().st_size - array.nbytes
        with open(path, "rb") as stream:
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            return (array.dtype, array.shape, offset) == (np.dtype(dtype), shape, stream.tell())
    except (OSError, EOFError, ValueError):
        return False


def map_array(path: Path) -> NDArray[Any]:
    """Return the array of a file, read-only and mapped into memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no .npy file, or is damaged.
    """
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
