"""Compare the tables of two reports number by number; names and words may differ.

    python -m tests.compare_reports OLD_REPORT NEW_REPORT [--table OLD=NEW ...]

Every CSV file in the old report's `tables/` (and `history.csv` beside it) is compared with the new
one of the same name, or of the name given. Rows and columns are paired by position. Numbers must be
equal exactly, except measured times and memory; run ids must correspond one to one, and words that
differ are listed. The exit status is 0 if all numbers are equal, else 1.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator
from pathlib import Path

RUN_ID = re.compile(r"\b[0-9a-f]{16}\b")
MEASURED_COLUMNS = frozenset(
    "seconds attempt_seconds waited_seconds spent seconds_per_step peak_memory_bytes".split()
)
"""Columns of times and memory, which differ from one execution to the next."""
NUMBER = re.compile(r"(?<![\w.])[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.])")


class Comparison:
    """The differences between the tables of two reports."""

    def __init__(self) -> None:
        self.numbers = 0
        """Count of numbers that were compared."""
        self.errors: list[str] = []
        self.words: dict[tuple[str, str], int] = {}
        """Pairs of texts (old, new) that differ, with how often they do."""
        self._new_id: dict[str, str] = {}
        self._old_id: dict[str, str] = {}

    def compare_tables(self, name: str, old: Path, new: Path) -> None:
        """Compare two CSV files."""
        old_rows, new_rows = list(read_rows(old)), list(read_rows(new))
        shape, new_shape = [[len(rows), *{len(r) for r in rows}] for rows in (old_rows, new_rows)]
        if shape != new_shape:
            self.errors.append(f"{name}: {shape} rows and columns against {new_shape}")
            return
        for line, (old_row, new_row) in enumerate(zip(old_rows, new_rows, strict=True), start=1):
            for column, (before, after) in enumerate(zip(old_row, new_row, strict=True)):
                if old_rows[0][column] in MEASURED_COLUMNS:
                    continue
                self._compare_cells(f"{name}:{line} {old_rows[0][column]}", before, after)

    def _compare_cells(self, where: str, before: str, after: str) -> None:
        for old, new in zip(RUN_ID.findall(before), RUN_ID.findall(after), strict=False):
            if self._new_id.setdefault(old, new) != new or self._old_id.setdefault(new, old) != old:
                self.errors.append(f"{where}: run {old} is {new} here and another run elsewhere")
        old_text, new_text = RUN_ID.sub("", before), RUN_ID.sub("", after)
        old_numbers, new_numbers = NUMBER.findall(old_text), NUMBER.findall(new_text)
        self.numbers += len(old_numbers)
        if [float(n) for n in old_numbers] != [float(n) for n in new_numbers]:
            self.errors.append(f"{where}: {before!r} against {after!r}")
        elif NUMBER.sub("", old_text) != NUMBER.sub("", new_text):
            self.words[before, after] = self.words.get((before, after), 0) + 1


def read_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, its header first."""
    with open(path, newline="", encoding="utf-8") as stream:
        yield from csv.reader(stream)


def main() -> int:
    """Compare two reports and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("old", type=Path, help="the folder of a report")
    parser.add_argument("new", type=Path, help="the folder of another report")
    parser.add_argument("--table", nargs="*", default=[], metavar="OLD=NEW", help="renamed tables")
    options = parser.parse_args()
    renamed = dict(pair.split("=") for pair in options.table)
    comparison = Comparison()
    tables = [*sorted((options.old / "tables").glob("*.csv")), options.old / "history.csv"]
    for old in tables:
        new = options.new / old.relative_to(options.old).with_stem(renamed.get(old.stem, old.stem))
        if not new.exists():
            comparison.errors.append(f"{old.name}: there is no {new.name} in {options.new}")
            continue
        comparison.compare_tables(old.name, old, new)
    for (before, after), count in comparison.words.items():
        print(f"words, {count} times: {before!r} -> {after!r}")
    for error in comparison.errors:
        print(f"differs: {error}")
    print(
        f"{len(tables)} tables, {comparison.numbers} numbers, {len(comparison.errors)} differences"
    )
    return 1 if comparison.errors else 0


if __name__ == "__main__":
    raise SystemExit(main())
