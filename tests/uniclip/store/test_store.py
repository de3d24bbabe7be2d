"""The store: its folders, and whether it can be written."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from uniclip.errors import UserError
from uniclip.store import (
    Store,
)


def test_supersede_keeps_every_generation(tmp_path: Path) -> None:
    lab = Store(tmp_path)
    for number in (1, 2, 3):
        run = lab.get_run("r")
        run.write_spec({"generation": number})
        place = lab.supersede(run)
        assert json.loads((place / "spec.json").read_text()) == {"generation": number}
    assert sorted(os.listdir(tmp_path / "superseded")) == ["r.1", "r.2", "r.3"]
    assert list(lab.iter_runs()) == []


def test_runs_and_sweeps_are_listed_in_order(tmp_path: Path) -> None:
    lab = Store(tmp_path)
    assert list(lab.iter_runs()) == list(lab.iter_sweeps()) == []
    for name in ("b", "a"):
        lab.get_run(name).write_spec({})
        lab.get_sweep(name).path.mkdir(parents=True)
    assert [r.id for r in lab.iter_runs()] == [s.id for s in lab.iter_sweeps()] == ["a", "b"]


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    Store(tmp_path / "new" / "store").require_writable()
    assert os.listdir(tmp_path / "new" / "store") == []


@pytest.mark.parametrize("where", ["file", "below a file", "proc"])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    root = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "store",
        "proc": Path("/proc/store"),
    }[where]
    with pytest.raises(UserError, match="cannot be written") as caught:
        Store(root).require_writable()
    assert str(root) in str(caught.value)
    assert (tmp_path / "file").read_text() == "not a folder"


def test_a_file_system_without_links_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path).require_writable()
    assert os.listdir(tmp_path) == []
