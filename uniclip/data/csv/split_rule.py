"""The split of a row of a table: as it is declared, or by a hash of the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableColumns
from uniclip.data.csv.faults import RowFault
from uniclip.data.split import SplitName, assign_split
from uniclip.errors import UserError

if TYPE_CHECKING:
    from uniclip.data.csv.rows import CsvSample

SPLIT_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words of a split column in lower case -> the split; "restval" is Karpathy's, of COCO."""


@dataclass(frozen=True)
class SplitRule:
    """How samples without a declared split are divided: by a hash of the path."""

    validation_fraction: float
    test_fraction: float

    @classmethod
    def from_config(cls, config: CsvData) -> SplitRule:
        """Return the rule of a configuration: declared test images leave none to be held out."""
        has_declared_test = config.split_column is not None or bool(config.test_path)
        return cls(config.validation_fraction, 0.0 if has_declared_test else config.test_fraction)

    def assign(self, path: str) -> SplitName:
        """Return the split of the sample with this path."""
        return assign_split(
            f"csv/{path}",
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )

    def get_split(self, row: CsvSample | RowFault) -> SplitName:
        """Return the split of a row; of one that names no image, training."""
        if row.declared_split is not None:
            return row.declared_split
        return self.assign(row.path) if row.path else "train"


def parse_split(columns: TableColumns, line: int, word: str) -> SplitName:
    """Return the split that a row declares; `UserError` if the word is none."""
    if word.lower() in SPLIT_WORDS:
        return SPLIT_WORDS[word.lower()]
    problem = f"{word!r} is not a split" if word else "it is empty"
    raise UserError(
        f"{columns.table.path} line {line}, column {columns.names['split_column']!r}: {problem}; "
        "write train, validation or test"
    )
