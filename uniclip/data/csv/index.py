"""The samples of a user's tables: in memory, or in mapped files if the tables are large."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from uniclip.config import CsvData
from uniclip.data.csv import rows

if TYPE_CHECKING:
    from uniclip.data.csv.packed_index import PackedIndex

TableIndex: TypeAlias = "rows.CsvIndex | PackedIndex"


def recall_index(config: CsvData) -> TableIndex:
    """Return the samples, which are read again only if the tables have changed.

    For a plan, which asks several times; whether images are missing is not looked up again.

    Raises:
        UserError: A table or a row of it cannot be used.
    """
    if rows.must_look_up(config):
        return rows.recall_index(config)
    from uniclip.data.csv.packed_index import open_index  # imports numpy: see `uniclip.data`

    return open_index(config)
