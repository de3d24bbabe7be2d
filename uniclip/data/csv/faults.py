"""Rows of a table that cannot be used: how many may be skipped, and how they are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniclip.config import CsvData
from uniclip.data.split import SplitName
from uniclip.errors import UserError

MAX_LISTED = 100
"""Faulty rows that an error lists; it counts the others."""


@dataclass
class RowFault:
    """A row that cannot be used."""

    table_path: str
    line: int
    path: str
    """What the row says of the image's path."""
    reason: str
    declared_split: SplitName | None = None

    def describe(self) -> str:
        """Return place and reason."""
        return f"{self.table_path} line {self.line}, {self.reason}"


def check_faults(
    config: CsvData,
    faults: Sequence[RowFault],
    get_split: Callable[[RowFault], SplitName],
    num_training: int,
) -> None:
    """Check that no more rows are skipped than a configuration allows.

    Args:
        config: The data section.
        faults: Rows that cannot be used.
        get_split: Returns the split that a row would be in.
        num_training: Training samples that can be used.

    Raises:
        UserError: More training rows cannot be used, or any validation or test row.
    """
    splits = [get_split(fault) for fault in faults]
    training_faults = [f for f, split in zip(faults, splits) if split == "train"]
    check_held_out_faults([f for f, split in zip(faults, splits) if split != "train"])
    if not training_faults:
        return
    num_rows = num_training + len(training_faults)
    if len(training_faults) > config.count_allowed_broken(num_rows):
        raise UserError(
            f"{len(training_faults)} of {num_rows} training rows cannot be used, more than "
            f"data.max_broken={config.max_broken:g} allows: {list_faults(training_faults)}; fix or "
            "remove these rows, or raise data.max_broken"
        )


def check_held_out_faults(faults: Sequence[RowFault]) -> None:
    """Raise `UserError` if rows of a held-out split cannot be used."""
    if faults:
        raise UserError(
            f"{len(faults)} validation or test row{'s' * (len(faults) > 1)} cannot be used: "
            f"{list_faults(faults)}; fix or remove {'these rows' if len(faults) > 1 else 'it'}"
        )


def list_faults(faults: Sequence[RowFault], max_listed: int = MAX_LISTED) -> str:
    """Return place and reason of each faulty row, and the number of those beyond `max_listed`."""
    texts = [fault.describe() for fault in faults[:max_listed]]
    if len(faults) > max_listed:
        texts.append(f"and {len(faults) - max_listed} more")
    return "; ".join(texts)
