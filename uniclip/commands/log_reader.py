"""The metrics of a program, read from its log or its file of JSON lines while it runs."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uniclip.commands.definition import CONSTANT, CommandDefinition
from uniclip.io.atomic import JSON_ERRORS, parse_json

Record = dict[str, Any]
TAIL_BYTES = 256
"""Bytes before the current position that are compared, to notice a file that was begun anew."""


class LogReader:
    """Reads the records that a program appends to a file; those from before are skipped.

    Args:
        path: The file, which need not exist yet.
        definition: How its lines are read.
        offset: Bytes that belong to earlier attempts.
    """

    def __init__(
        self, path: Path, definition: CommandDefinition, offset: int | None = None
    ) -> None:
        self.path, self.definition = path, definition
        self._offset = _get_size(path) if offset is None else offset
        self._tail = self._read_tail()
        self._incomplete_line = b""
        self._columns: list[str] = []
        self._newest: Record = {}

    def read_records(self) -> list[Record]:
        """Return the records that were appended since the last call.

        A record holds what the records before it logged at the same step, too, such as the
        training loss beside that of the validation. A file that was truncated or replaced by
        another one is read from its start.
        """
        if self._read_tail() != self._tail:
            self._offset, self._tail, self._incomplete_line, self._newest = 0, b"", b"", {}
            self._columns = []
        try:
            with open(self.path, "rb") as stream:
                stream.seek(self._offset)
                content = stream.read()
        except FileNotFoundError:
            return []
        self._offset += len(content)
        self._tail = (self._tail + content)[-TAIL_BYTES:]
        *lines, self._incomplete_line = (self._incomplete_line + content).split(b"\n")
        return list(self._parse_lines(line.decode(errors="replace") for line in lines))

    def _read_tail(self) -> bytes:
        """Return the bytes before the current position."""
        start = max(0, self._offset - TAIL_BYTES)
        try:
            with open(self.path, "rb") as stream:
                stream.seek(start)
                return stream.read(self._offset - start)
        except FileNotFoundError:
            return b""

    def _parse_lines(self, lines: Iterator[str]) -> Iterator[Record]:
        for line in lines:
            record = self._parse_line(line)
            if record is not None:
                if all(record.get(key) == self._newest.get(key) for key in ("step", "phase")):
                    record = {**self._newest, **record}
                self._newest = record
                yield record

    def _parse_line(self, line: str) -> Record | None:
        if not self.definition.metrics_file:
            return parse_log_line(line, self.definition)
        if self.path.suffix != ".csv":
            return parse_json_line(line)
        if not self._columns:
            with open(self.path, encoding="utf-8-sig", errors="replace") as stream:
                self._columns = _split_row(stream.readline())
        return parse_csv_row(line, self._columns)


def parse_csv_row(line: str, columns: Sequence[str]) -> Record | None:
    """Return the cells of a row that are not empty; None unless there is a whole step."""
    cells = _split_row(line)
    record = {name: _parse_number(cell) for name, cell in zip(columns, cells) if cell != ""}
    return record if type(record.get("step")) is int else None


def _split_row(line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]), [])]
    except csv.Error:
        return []


def parse_json_line(line: str) -> Record | None:
    """Return the record of a JSON line; None unless it is an object with a whole step."""
    try:
        record = parse_json(line)
    except JSON_ERRORS:
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    return record


def parse_log_line(line: str, definition: CommandDefinition) -> Record | None:
    """Return the named groups of a line as a record; None if the pattern does not match it.

    Numbers become numbers. The step is the group `step`, or the sum that `step_from` declares.
    """
    match = definition.compiled_pattern.search(line)
    if match is None:
        return None
    groups = {name: _parse_number(v) for name, v in match.groupdict().items() if v is not None}
    try:
        step = compute_step(groups, definition.step_from)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return {**groups, "step": step}


def compute_step(groups: Mapping[str, Any], step_from: Mapping[str, float]) -> int:
    """Return the step of a record: its group `step`, or a sum of its groups times factors."""
    if not step_from:
        return int(groups["step"])
    summands = {**groups, CONSTANT: 1}
    return int(round(sum(factor * summands[name] for name, factor in step_from.items())))


class StepTimer:
    """Measures the time of training steps from when their records appear."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.first: tuple[int, float] | None = None
        """Step and seconds of the first record."""
        self.last: tuple[int, float] | None = None

    def observe(self, step: int) -> float:
        """Note a record; return the seconds since the start of the program."""
        seconds = time.monotonic() - self.start
        self.first = self.first or (step, seconds)
        self.last = (step, seconds)
        return seconds

    @property
    def seconds_per_step(self) -> float:
        """Mean seconds of a step between the first and the last record; 0 if they are one."""
        if self.first is None or self.last is None or self.last[0] <= self.first[0]:
            return 0.0
        return (self.last[1] - self.first[1]) / (self.last[0] - self.first[0])


def _parse_number(text: str) -> Any:
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return text


def _get_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
