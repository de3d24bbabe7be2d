"""Files of a run that are read directly, by their names below its folder."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest

from uniclip.store import AttemptEnd
from uniclip.store.run_files import RunFiles, compute_digest


def test_files_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "end.json").write_text('{"kind": "trained", "time": 1.0}')
    files = RunFiles(str(tmp_path))
    assert files.read_record(AttemptEnd, "attempts/end.json") == AttemptEnd(
        kind="trained", time=1.0
    )
    assert files.read_json("attempts/end.json") == {"kind": "trained", "time": 1.0}
    assert files.list_folder("attempts") == ["end.json"]
    assert files.has_file("attempts/end.json")
    expected = blake2b(b'{"kind": "trained", "time": 1.0}', digest_size=16).digest()
    assert files.compute_digest("attempts/end.json") == expected
    assert files.derive("three", ["attempts/end.json"], int, lambda: 3) == 3


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    files = RunFiles(str(tmp_path))
    assert files.read_record(AttemptEnd, "end.json") is None
    assert files.list_folder("attempts") == []
    assert not files.has_file("end.json")
    assert compute_digest(tmp_path / "end.json") is None
    with pytest.raises(FileNotFoundError):
        files.read_json("end.json")
