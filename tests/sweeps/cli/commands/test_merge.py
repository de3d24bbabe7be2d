"""`merge`: bundles and stores; damaged ones leave the store as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import execute, read_files

BUNDLE = ROOT / "tests" / "fixtures" / "store_format_1.tar"


def test_a_bundle_becomes_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"store={tmp_path / 'store'}"
    assert execute("merge", str(BUNDLE), store, "--dry-run") == 0
    assert not (tmp_path / "store").exists()
    assert execute("merge", str(BUNDLE), store) == 0
    assert "2 runs are new, 0 are in both" in capsys.readouterr().out
    assert execute("merge", str(BUNDLE), store) == 0
    assert "0 runs are new, 2 are in both: 2 bit for bit" in capsys.readouterr().out


def test_a_damaged_bundle_is_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(BUNDLE.read_bytes())
    data[data.index(b'"kind": "trained"')] ^= 1
    (tmp_path / "b.tar").write_bytes(data)
    assert execute("merge", str(tmp_path / "b.tar"), f"store={tmp_path / 'store'}") == 2
    assert "is damaged: store/runs/" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "words", [(), ("missing",), (str(BUNDLE), "seeds=3"), ("join=[a,b]",), ("join=[a]",)]
)
def test_errors_are_one_line(
    tmp_path: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    assert execute("merge", *words, f"store={tmp_path / 'store'}") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert read_files(tmp_path / "store") == {}
