"""The place of bytes that are not text in UTF-8, and the encoding that they look like.

The guess is made from the lines that are not UTF-8 and is only worded as a guess.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

LINE_END = re.compile(rb"\r\n|\r|\n")
CHECKED_BYTES = 4096
"""Bytes at the start of a file that are checked for being text."""
GUESSED_LINES = 200
"""Lines that are not UTF-8 from which the encoding is guessed."""
SCRIPTS = {
    "shift_jis": ("HIRAGANA", "KATAKANA"),
    "euc_jp": ("HIRAGANA", "KATAKANA"),
    "euc_kr": ("HANGUL",),
    "gb18030": ("CJK UNIFIED",),
    "big5": ("CJK UNIFIED",),
    "cp1251": ("CYRILLIC SMALL",),
    "koi8-r": ("CYRILLIC SMALL",),
    "cp1253": ("GREEK SMALL",),
}
"""Encoding -> how the Unicode names of the usual letters in it begin; in the order of trial."""
SHARE_OF_SCRIPT = {"shift_jis": 0.3, "euc_jp": 0.3}
"""Least share of these letters among all that are not ASCII, where it is not `DEFAULT_SHARE`."""
DEFAULT_SHARE = 0.75
TWO_BYTE_ENCODINGS = ("shift_jis", "euc_jp", "euc_kr", "gb18030", "big5")
FIRST_BYTES = {"gb18030": range(0xB0, 0xD8), "big5": range(0xA4, 0xC7)}
"""Encoding -> the first bytes of its usual characters: those of level 1."""
WESTERN_ENCODINGS = ("cp1252", "latin-1")


def describe_bad_byte(path: str) -> str:
    """Return one line that says where a file is not UTF-8, and what it looks like."""
    with open(Path(path).expanduser(), "rb") as stream:
        if is_binary(stream.read(CHECKED_BYTES)):
            return f"{path} is not a text file; save it as CSV, in UTF-8"
        stream.seek(0)
        line, content, error = next(_iterate_bad_lines(stream))
        rest = content[error.start :]
        stream.seek(-len(rest), os.SEEK_END)
        is_cut = error.reason == "unexpected end of data" and stream.read() == rest
    before = content[: error.start].decode("utf-8")
    if is_cut and _has_accents(path):
        return f"{path} line {line}: the file ends inside a character; write it anew, in UTF-8"
    guess = guess_encoding(path)
    hint = f" and looks like {guess}" if guess else ""
    conversion = f" (iconv -f {guess} -t UTF-8)" if guess else ""
    return (
        f"{path} line {line}: character {len(before) + 1} is not UTF-8{hint} (byte "
        f"{content[error.start]:#04x}); save the file as UTF-8{conversion}"
    )


def is_binary(first_bytes: bytes) -> bool:
    """Return whether a file that begins so is not text, such as a workbook, an archive or UTF-16
    without a byte order mark."""
    return b"\0" in first_bytes


def guess_encoding(path: str) -> str | None:
    """Return the name of the encoding that the lines that are not UTF-8 look like, or None."""
    with open(Path(path).expanduser(), "rb") as stream:
        bad_lines = [content for _, content, _ in islice(_iterate_bad_lines(stream), GUESSED_LINES)]
    text = b"\n".join(bad_lines)
    for encoding in SCRIPTS:
        if _is_written_in(text, encoding):
            return encoding
    for encoding in WESTERN_ENCODINGS:
        try:
            text.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None


def _iterate_bad_lines(
    stream: Iterator[bytes],
) -> Iterator[tuple[int, bytes, UnicodeDecodeError]]:
    """Yield number, content and error of each line that is not UTF-8."""
    number = 0
    for physical_line in stream:
        # A file of old Macs ends its lines with "\r", on which binary files are not split.
        contents = LINE_END.split(physical_line)
        for content in contents if len(contents) == 1 or contents[-1] else contents[:-1]:
            number += 1
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                yield number, content, error


def _has_accents(path: str) -> bool:
    """Return whether a line of the file is UTF-8 and has characters that are not ASCII."""
    with open(Path(path).expanduser(), "rb") as stream:
        bad_numbers = {number for number, _, _ in _iterate_bad_lines(stream)}
        stream.seek(0)
        return any(
            not line.removeprefix(codecs.BOM_UTF8).isascii()
            for number, line in enumerate(stream, 1)
            if number not in bad_numbers
        )


def _is_written_in(text: bytes, encoding: str) -> bool:
    try:
        letters = [c for c in text.decode(encoding) if c > "\x7f" and c.isalpha()]
    except UnicodeDecodeError:
        return False
    num_usual = sum(_is_usual_letter(letter, encoding) for letter in letters)
    share = SHARE_OF_SCRIPT.get(encoding, DEFAULT_SHARE)
    return (
        bool(letters)
        and num_usual >= share * len(letters)
        and _has_long_runs(text, min_length=2 if encoding in TWO_BYTE_ENCODINGS else 3)
    )


def _is_usual_letter(letter: str, encoding: str) -> bool:
    if not unicodedata.name(letter, "").startswith(SCRIPTS[encoding]):
        return False
    if encoding not in FIRST_BYTES:
        return True
    return letter.encode(encoding)[0] in FIRST_BYTES[encoding]


def _has_long_runs(text: bytes, min_length: int) -> bool:
    """Return whether most bytes that are not ASCII stand in runs of at least `min_length`.

    In a Western text they are single letters. With the ASCII letter after it such a byte may pass
    for one East Asian character.
    """
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", text)]
    return sum(length for length in runs if length >= min_length) > 0.8 * sum(runs)
