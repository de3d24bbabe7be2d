"""A store that several users share: which permissions new files get, and whose a folder is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.other_user import (
    GROUP_ID,
    USER_ID,
    open_to_other_users,
    run_as_other_user,
)
from uniclip.io.atomic import write_once
from uniclip.store import Store, permissions


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """Restore the umask of this process, which some tests change."""
    before = permissions.read_umask()
    yield
    os.umask(before)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder below folders that every user may search."""
    open_to_other_users(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("mode", "store", "umask", "expected"),
    [
        (0o2775, ".", 0o022, 0o002),
        (0o2770, ".", 0o077, 0o007),
        (0o2775, "new/store", 0o077, 0o007),
        (0o775, ".", 0o022, 0o002),
        (0o775, "new/store", 0o022, 0o022),
        (0o2755, ".", 0o022, 0o022),
        (0o755, ".", 0o077, 0o077),
        (0o700, "new", 0o027, 0o027),
        (0o1777, "new", 0o022, 0o022),
    ],
)
def test_files_of_a_shared_store_get_the_permissions_of_its_group(
    tmp_path: Path, mode: int, store: str, umask: int, expected: int
) -> None:
    tmp_path.chmod(mode)
    os.umask(umask)
    Store(tmp_path / store).share_with_group()
    assert permissions.read_umask() == expected


def test_two_users_write_one_store(open_path: Path) -> None:
    """The one has umask 077 and the other 022; both may write what the other has made."""
    root = open_path / "store"
    root.mkdir()
    os.chown(root, -1, GROUP_ID) if not os.geteuid() else None
    root.chmod(0o2770)
    os.umask(0o077)
    store = Store(root)
    store.share_with_group()
    store.get_run("first").write_spec({"a": 1})

    def act_as_other_user() -> None:
        store.share_with_group()
        first = store.get_run("first")
        assert first.read_spec() == {"a": 1}
        assert first.find_unwritable() is None
        assert write_once(first.path / "attempts/1.claim", b"{}")
        store.get_run("second").write_spec({"a": 2})

    run_as_other_user(act_as_other_user, umask=0o022)
    second = store.get_run("second").path
    for path in (second, second / "spec.json"):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (USER_ID, GROUP_ID)
        assert status.st_mode & stat.S_IWGRP


def test_the_owner_of_a_denied_folder_is_named(open_path: Path) -> None:
    store = Store(open_path / "store")
    run = store.get_run("private")
    run.write_spec({})
    run.path.chmod(0o700)

    def act_as_other_user() -> None:
        assert not run.is_readable()
        denial = permissions.describe_denial(run.path / "outcome.json")
        assert denial == f"{run.path} belongs to root (drwx------)"
        assert run.find_unwritable() == run.path
        remedy = permissions.describe_remedy(run.path, store.root)
        assert remedy.startswith(f"root runs chmod -R g+rwX {store.root}")

    run_as_other_user(act_as_other_user)
    assert run.is_readable()
    assert run.find_unwritable() is None


def test_a_path_that_does_not_exist_is_not_denied(tmp_path: Path) -> None:
    assert permissions.find_unwritable([tmp_path / "a", tmp_path / "a/b"]) is None
    assert permissions.find_existing(tmp_path / "a/b") == tmp_path


@pytest.mark.parametrize(
    ("mode", "umask", "keeps_out"), [(0o777, 0o022, True), (0o777, 0, False), (0o775, 0o022, False)]
)
def test_umask_that_keeps_others_out_is_described(
    tmp_path: Path, mode: int, umask: int, keeps_out: bool
) -> None:
    tmp_path.chmod(mode)
    os.umask(umask)
    description = permissions.describe_restrictive_umask(tmp_path)
    assert ("files made with umask 022" in description) == keeps_out
    assert bool(description) == keeps_out


def test_a_user_without_a_name_is_called_by_id() -> None:
    assert permissions.get_user_name(0) == "root"
    assert permissions.get_user_name(USER_ID) == f"user {USER_ID}"
