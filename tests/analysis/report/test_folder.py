"""The report folder is replaced as a whole, or not at all."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from analysis.report.folder import replace_folder


def test_builders_at_once_leave_one_whole_folder(tmp_path: Path) -> None:
    target, errors = tmp_path / "report", []

    def build(number: int) -> None:
        try:
            for _ in range(20):
                with replace_folder(target) as folder:
                    for name in "abc":
                        (folder / name).write_text(str(number))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=build, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({(target / name).read_text() for name in "abc"}) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_failed_build_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "report"
    with replace_folder(target) as folder:
        (folder / "a").write_text("old")

    def fail() -> None:
        with replace_folder(target) as folder:
            (folder / "a").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (target / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
