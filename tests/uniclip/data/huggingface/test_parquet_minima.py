"""The smallest value of a row group, as pyarrow writes it, whether it tells it or not."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from uniclip.data.huggingface.parquet_minima import CompactReader, read_minima

LONG = b"\xff" * 5000
"""A value that is not stated: too long."""
GROUPS = [[b"b", b"a"], [b"c", LONG], [LONG, b""], [LONG], [None, b"d"], [None, None]]
"""The values of row groups."""


@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_minima_are_those_of_the_values(tmp_path: Path, version: str, compression: str) -> None:
    column = pyarrow.array([{"bytes": v, "path": "z"} for group in GROUPS for v in group])
    table = pyarrow.table({"text": ["x" * i for i in range(len(column))], "image": column})
    table = table.replace_schema_metadata({"huggingface": "{}" * 300})
    path = str(tmp_path / "a.parquet")
    with parquet.ParquetWriter(
        path, table.schema, version=version, compression=compression, write_page_index=True
    ) as writer:
        start = 0
        for group in GROUPS:
            writer.write_table(table.slice(start, len(group)))
            start += len(group)
    assert read_minima(path, "image.bytes") == {0: b"a", 1: b"c", 2: b"", 4: b"d"}
    assert read_minima(path, "image.path") == dict.fromkeys(range(6), b"z")
    assert read_minima(path, "other") == {}
    metadata = parquet.read_metadata(path)
    for number, minimum in read_minima(path, "text").items():
        assert metadata.row_group(number).column(0).statistics.min.encode() == minimum


def test_many_groups_and_columns_are_read(tmp_path: Path) -> None:
    """Lists of 15 and more have their length in another place."""
    table = pyarrow.table(
        {f"c{i}": [f"{i}-{k:03d}".encode() for k in range(200)] for i in range(20)}
    )
    path = str(tmp_path / "a.parquet")
    parquet.write_table(table, path, row_group_size=1)
    assert read_minima(path, "c17") == {k: f"17-{k:03d}".encode() for k in range(200)}
    parquet.write_table(table, path, write_statistics=False)
    assert read_minima(path, "c17") == {}


def test_every_type_of_the_protocol_is_passed_over() -> None:
    """Field 9 is read after a field of each type, and after a field whose number is not near."""
    content = bytes(
        [0x11, 0x12, 0x13, 0xFF, 0x14, 0x03, 0x17, *bytes(8), 0x1B, 1, 0x58, 2, 1, 65]
        + [0x19, 0x22, 1, 2, 0x1B, 0, 0x08, 0xC8, 0x01, 3, *b"end", 0]
    )
    assert CompactReader(content).read_struct() == {
        **{1: True, 2: False, 3: 255, 4: -2, 5: bytes(8), 6: [(1, b"A")], 7: [1, 2], 8: []},
        100: b"end",
    }
    with pytest.raises(ValueError, match="no type 13"):
        CompactReader(bytes([0x1D])).read_struct()
