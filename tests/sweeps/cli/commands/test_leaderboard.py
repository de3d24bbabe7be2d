"""`sweep.py leaderboard` writes a page from files of scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import execute

SCORES = {
    "dtd": {
        "protocol": {"protocol": "clip2021"},
        "scores": [{"name": "zeroshot", "kind": "accuracy", "value": 0.5}],
    }
}


def test_a_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(SCORES))
    page = tmp_path / "page.html"
    files = [str(tmp_path / f"{name}.json") for name in ("a", "b")]
    assert execute("leaderboard", *files, f"to={page}") == 0
    assert "2 models" in capsys.readouterr().out
    assert "<h1>Leaderboard</h1>" in page.read_text()


def test_a_name_that_is_no_text_does_not_prevent_the_page(tmp_path: Path) -> None:
    content = {"runs": {"half a character \udc80": SCORES}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    page = tmp_path / "page.html"
    assert execute("leaderboard", str(tmp_path / "a.json"), f"to={page}") == 0
    assert "half a character ?" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "leaderboard takes files of scores"),
        (("nowhere.json",), "nowhere.json cannot be read"),
        (("other.json",), "other.json is no file of scores"),
        (("a.json", "a.json"), "has scores of a"),
        (("a.json", "to=."), "to=. is a folder; name a file"),
        (("a.json", "t=x"), "unknown key of leaderboard 't'"),
    ],
)
def test_faulty_words_are_refused(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(SCORES))
    (tmp_path / "other.json").write_text("[1]")
    assert execute("leaderboard", *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "leaderboard.html").exists()
