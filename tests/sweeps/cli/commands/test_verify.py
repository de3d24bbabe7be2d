"""`verify`: 0 for an intact bundle, 1 with names for a damaged one, 2 for what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.command_line import execute

BUNDLE = ROOT / "tests" / "fixtures" / "store_format_1.tar"


def test_an_intact_bundle_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("verify", str(BUNDLE)) == 0
    assert "files have the hashes of the manifest; 2 of 4 cells" in capsys.readouterr().out


def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(BUNDLE.read_bytes())
    data[data.index(b'"kind": "trained"')] ^= 1
    (tmp_path / "b.tar").write_bytes(data)
    assert execute("verify", str(tmp_path / "b.tar")) == 1
    output = capsys.readouterr().out
    assert output.startswith("damaged: store/runs/")
    assert "end.json" in output or "outcome.json" in output


@pytest.mark.parametrize(
    "words",
    [(), ("a", "b"), ("missing.tar",), ("x", "draw=-1"), ("x", "tolerance=nan"), ("x", "draw=a")],
)
def test_errors_are_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("verify", *words) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
