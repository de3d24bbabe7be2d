"""`bundle`: one file in the working folder, or an error of one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from tests.helpers.labs import make_lab


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "has no sweep"),
        (("components-quick", "to=/dev/null/x.tar"), "there is no folder"),
        (("components-quick", "train.steps=3"), "leave out train.steps="),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("analysis.report.build.build_report", lambda *_, **__: None)
    make_lab(tmp_path / "store", Truth(seeds=(0,)))
    assert execute("bundle", *words, f"store={tmp_path / 'store'}") == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
