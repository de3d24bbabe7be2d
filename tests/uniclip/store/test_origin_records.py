"""Origins are plain records of the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.errors import UserError
from uniclip.store.json_io import decode_record, to_json_bytes
from uniclip.store.origin_records import RunOrigin


def test_what_is_written_is_read() -> None:
    origin = RunOrigin(run="0" * 16, origin="lab", copied=True, agreement="")
    assert decode_record(RunOrigin, to_json_bytes(origin), Path("x")) == origin


def test_another_record_is_refused() -> None:
    with pytest.raises(UserError, match="damaged"):
        decode_record(RunOrigin, b'{"run": 3}', Path("x"))
