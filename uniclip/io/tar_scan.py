"""Reading the headers of a tar file: where each member is, without reading what the members hold.

Several times faster than `tarfile`, which makes an object of each member. Formats are ustar, GNU
(long names, sizes in base 256) and pax (path and size); links, folders and devices are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 512
"""Bytes of a header; the content of a member is padded to a multiple of it."""
WINDOW = 8192
"""Bytes read at once: most headers and texts between two images lie in one window."""
MAX_EXTENDED_HEADER = 2**20
"""Bytes of a long name or of pax records; more are damage."""
ZEROS = bytes(BLOCK)
GZIP_MAGIC = b"\x1f\x8b"
MAX_NAME_BLOCKS = 16
"""Blocks of an extended header that are looked through for a long name, from a member back."""
REGULAR_TYPES = frozenset(b"0\0" + b"7")
PAX_TYPE, LONG_NAME_TYPE = ord("x"), ord("L")

Member = tuple[str, int, int]
"""Name, first byte and number of bytes of a regular file in a tar."""


class DamagedTarError(ValueError):
    """A tar file ends within a member or holds no header where one must be; one line.

    `member`: the name of the member that is cut off; "" if it is not known.
    """

    def __init__(self, reason: str, member: str = "") -> None:
        super().__init__(reason)
        self.member = member


class NotATarError(DamagedTarError):
    """A file is empty, or does not begin with the header of a tar; one line."""


class TarScanner:
    """The members of an open tar file.

    Args:
        descriptor: Of the file, open for reading.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file_size = os.fstat(descriptor).st_size
        self._window, self._window_start = b"", 0

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on; fewer at the end of the file."""
        first = start - self._window_start
        if 0 <= first and first + size <= len(self._window):
            return self._window[first : first + size]
        if size > WINDOW:
            return os.pread(self._descriptor, size, start)
        self._window, self._window_start = os.pread(self._descriptor, WINDOW, start), start
        return self._window[:size]

    def iterate_members(self) -> Iterator[Member]:
        """Yield the regular files in order, as they are or as their extended headers say.

        Raises:
            NotATarError: The file is empty or no tar.
            DamagedTarError: The file is cut off; after all whole members.
        """
        if not self._file_size:
            raise NotATarError("it is empty")
        position, extended_name, extended_size = 0, "", -1
        while position < self._file_size:
            header = self.read(position, BLOCK)
            if header == ZEROS:
                return
            size = self._parse_header(header, position)
            if extended_size >= 0:
                size, extended_size = extended_size, -1
            start = position + BLOCK
            if start + size > self._file_size:
                name = extended_name or _read_name(header)
                raise DamagedTarError(f"it ends at byte {self._file_size} within {name}", name)
            kind = header[156]
            if kind in REGULAR_TYPES:
                yield extended_name or _read_name(header), start, size
                extended_name = ""
            elif kind in (PAX_TYPE, LONG_NAME_TYPE):
                if size > MAX_EXTENDED_HEADER:
                    raise DamagedTarError(f"the header at byte {position} is damaged")
                content = self.read(start, size)
                if kind == LONG_NAME_TYPE:
                    extended_name = _decode_name(content)
                else:
                    name, extended_size = _parse_pax(content)
                    extended_name = name or extended_name
            else:
                extended_name = ""
            position = start + -(-size // BLOCK) * BLOCK
        raise DamagedTarError(
            f"it ends at byte {self._file_size} without the closing block of zeros, as a file that "
            "was copied in part"
        )

    def _parse_header(self, header: bytes, position: int) -> int:
        """Return the size of a member; `DamagedTarError` unless the block is a header."""
        try:
            if len(header) < BLOCK:
                raise ValueError
            size = _parse_size(header[124:136])
            if header[257:262] != b"ustar":
                _require_checksum(header)
        except ValueError:
            if position:
                raise DamagedTarError(f"no header at byte {position}") from None
            is_gzip = header.startswith(GZIP_MAGIC)
            raise NotATarError(
                "it is compressed with gzip" if is_gzip else "it is not a tar file"
            ) from None
        return size


@dataclass(slots=True)
class TarSample:
    """The members of one key, as WebDataset groups them: neighbours with the same key."""

    key: str
    """Folder and name up to the first dot."""
    members: dict[str, Member] = field(default_factory=dict)
    """Extension in lower case -> the first such member."""
    num_repeated: int = 0
    """Members with the extension of an earlier one, which are left out."""
    is_cut_off: bool = False
    """Whether the tar is damaged behind it, so that members may be missing."""


def iterate_samples(scanner: TarScanner) -> Iterator[TarSample]:
    """Yield the samples of a shard in order; files without an extension belong to none.

    Raises:
        DamagedTarError: As `TarScanner.iterate_members`, after all samples before; the sample that
            is cut off is lost.
    """
    sample: TarSample | None = None
    try:
        for member in scanner.iterate_members():
            key, extension = _split_name(member[0])
            if not key:
                continue
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = TarSample(key)
            if sample.members.setdefault(extension, member) is not member:
                sample.num_repeated += 1
    except DamagedTarError as error:
        if sample is not None and sample.key != _split_name(error.member)[0]:
            sample.is_cut_off = not error.member
            yield sample
        raise
    if sample is not None:
        yield sample


def _split_name(name: str) -> tuple[str, str]:
    """Return key and extension of a member; an empty key if it belongs to no sample."""
    folder, slash, file_name = name.rpartition("/")
    stem, dot, extension = file_name.partition(".")
    return (folder + slash + stem, extension.lower()) if dot and stem else ("", "")


def read_member_name(descriptor: int, start: int) -> str:
    """Return the name of the member whose content begins at `start`.

    It is that of its header, or of an extended header in front of it of at most `MAX_NAME_BLOCKS`.
    """
    first = max(0, start - (MAX_NAME_BLOCKS + 2) * BLOCK)
    before = os.pread(descriptor, start - first, first).ljust(start - first, b"\0")
    header, before = before[-BLOCK:], before[:-BLOCK]
    for num_blocks in range(1, len(before) // BLOCK):
        content = before[len(before) - num_blocks * BLOCK :]
        extended = before[len(before) - (num_blocks + 1) * BLOCK :][:BLOCK]
        size = _get_extended_size(extended)
        if size and -(-size // BLOCK) == num_blocks:
            is_long_name = extended[156] == LONG_NAME_TYPE
            name = _decode_name(content) if is_long_name else _parse_pax(content[:size])[0]
            return name or _read_name(header)
    return _read_name(header)


def _get_extended_size(block: bytes) -> int:
    """Return the bytes of the content of an extended header; 0 if a block is none."""
    if block[156] not in (PAX_TYPE, LONG_NAME_TYPE) or block[257:262] != b"ustar":
        return 0
    try:
        _require_checksum(block)
        return _parse_size(block[124:136])
    except ValueError:
        return 0


def _read_name(header: bytes) -> str:
    name = header[:100]
    if header[345] and header[257:263] == b"ustar\0":  # POSIX: the folder is in the prefix
        name = header[345:500].rstrip(b"\0") + b"/" + name
    return _decode_name(name)


def _decode_name(name: bytes) -> str:
    return name.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _parse_size(field: bytes) -> int:
    """Return the number of a field, octal or (GNU) in base 256; `ValueError` if it is neither."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    size = int(field.rstrip(b" \0") or b"0", 8)
    if size < 0:
        raise ValueError
    return size


def _require_checksum(header: bytes) -> None:
    """Raise `ValueError` unless the checksum is right; for formats that have no other mark."""
    stated = int(header[148:156].rstrip(b" \0") or b"-1", 8)
    if sum(header) - sum(header[148:156]) + 8 * ord(" ") != stated:
        raise ValueError


def _parse_pax(content: bytes) -> tuple[str, int]:
    """Return path and size of the next member from pax records; "" and -1 for those not stated."""
    name, size, position = "", -1, 0
    while position < len(content):
        length_field = content[position : position + 20].partition(b" ")[0]
        if not length_field.isdigit() or int(length_field) <= len(length_field) + 1:
            break
        record = content[position + len(length_field) + 1 : position + int(length_field) - 1]
        key, _, value = record.partition(b"=")
        if key == b"path":
            name = _decode_name(value)
        elif key == b"size" and value.isdigit():
            size = int(value)
        position += int(length_field)
    return name, size
