"""The version of a store's format: written once, a newer one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import execute
from uniclip.errors import UserError
from uniclip.store import Store, format_version


def test_a_store_without_the_file_is_read(tmp_path: Path) -> None:
    assert list(Store(tmp_path).iter_runs()) == []
    assert list(Store(tmp_path / "missing").iter_runs()) == []


def test_the_version_is_written_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_format_version()
    written = (tmp_path / format_version.FILE_NAME).read_bytes()
    store.write_format_version()
    assert (tmp_path / format_version.FILE_NAME).read_bytes() == written
    assert format_version.parse(written) == format_version.FORMAT_VERSION
    Store(tmp_path)


def test_a_newer_store_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = {"format": format_version.FORMAT_VERSION + 1}
    (tmp_path / format_version.FILE_NAME).write_text(json.dumps(newer))
    for words in (("list", "sweeps"), ("status", "x"), ("gc",), ("plan", "ablation=components")):
        assert execute(*words, f"store={tmp_path}") == 2
        message = capsys.readouterr().err
        assert len(message.strip().splitlines()) == 1
        assert "has format 2, and this version of uniclip reads formats up to 1" in message
    assert [path.name for path in tmp_path.iterdir()] == [format_version.FILE_NAME]


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", '{"format": "1"}', '{"format": true}'])
def test_a_damaged_version_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / format_version.FILE_NAME).write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        Store(tmp_path)
