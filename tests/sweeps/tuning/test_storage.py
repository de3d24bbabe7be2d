"""Storages that cannot be used: one line, without the password."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeps.tuning.storage import URL_VARIABLE, hide_password, open_storage
from sweeps.tuning.tuner import build_tuner
from uniclip.errors import UserError


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/db",
            "cannot be used: .*refused.*; start the server",
        ),
        ("postgresql+nodriver://me:secret@127.0.0.1/db", "cannot be used: .*nodriver"),
        ("mysql+pymysql://me:secret@127.0.0.1/db", "needs a driver that is not installed"),
        (
            "sqlite:////no/such/folder/study.db",
            "cannot be used: .*unable to open .*; create the folder",
        ),
        (
            "/no/such/folder/study.journal",
            "cannot be used: .*No such file.*; create the folder, correct",
        ),
        ("://", "cannot be used: "),
        ("study.db", "would be a journal: write storage=sqlite:///study.db for"),
        ("/no/study.sqlite3", "would be a journal: write storage=sqlite:////no/study.sqlite3 for"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(tmp_path: Path, url: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^storage=.*{reason}") as error:
        open_storage(url, tmp_path / "default.journal")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("{}\nnot json\n{}\n")
    with pytest.raises(UserError, match="study.journal cannot be used: "):
        open_storage("", tmp_path / "study.journal")


def test_a_path_and_a_url_name_a_storage(tmp_path: Path) -> None:
    for url in (f"{tmp_path}/own.journal", f"sqlite:///{tmp_path}/own.db", ""):
        storage = open_storage(url, tmp_path / "default.journal")
        assert storage.get_all_studies() == []
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"own.journal", "own.db", "default.journal"}


def test_passwords_are_hidden() -> None:
    assert hide_password("postgresql://me:se:cret@host/db") == "postgresql://me:***@host/db"
    assert hide_password("postgresql://me@host:5432/db") == "postgresql://me@host:5432/db"
    assert hide_password("sqlite:///a.db") == "sqlite:///a.db"


@pytest.mark.parametrize("launcher", ["slurm", "local"])
def test_follow_up_jobs_get_the_storage_by_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    monkeypatch.setenv(URL_VARIABLE, "")
    words = ["ablation=components", "budget=smoke", "arms=[full,clip]", f"store={tmp_path}"]
    words.append(f"launcher={launcher}")
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/db"
    tuner = build_tuner([*words, f"storage={url}"])
    assert tuner.config.storage == url
    assert tuner.request.argv[-1] == f"storage={url}"
    assert "secret" not in repr(tuner.request.follow_up_argv)
    if launcher == "slurm":
        assert os.environ[URL_VARIABLE] == url
        follow_up_words = list(tuner.request.follow_up_argv[1:])
        assert build_tuner([*follow_up_words, f"store={tmp_path}"]).config.storage == url
    else:
        assert os.environ[URL_VARIABLE] == "", "it is for the jobs of this sweep"
