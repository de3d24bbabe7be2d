"""Where searches for copies are stored."""

from __future__ import annotations

from pathlib import Path

from uniclip.store import RunFolder
from uniclip.store.copy_searches import get_copies_path, list_copies_paths


def test_a_search_is_named_as_the_scores_are(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "0123")
    assert list_copies_paths(run) == set()
    path = get_copies_path(run, "csv:images/test.csv", "89abcdef")
    assert path == tmp_path / "0123/copies/csv@89abcdef.json"
    path.parent.mkdir(parents=True)
    path.touch()
    assert list_copies_paths(run) == {path}
