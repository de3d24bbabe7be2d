"""The commit of a checkout is that which git itself names."""

from __future__ import annotations

import subprocess
from pathlib import Path

from uniclip.io.commit import COMMIT_FILE, read_commit


def run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_commit_of_a_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    assert read_commit(checkout) == ""
    run_git(checkout, "init", "-q", "-b", "some/branch")
    assert read_commit(checkout) == "", "nothing is committed"
    run_git(checkout, "commit", "-q", "--allow-empty", "-m", "first")
    commit = run_git(checkout, "rev-parse", "HEAD")
    assert read_commit(checkout) == commit
    run_git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "worktree"))
    assert read_commit(tmp_path / "worktree") == commit
    run_git(checkout, "pack-refs", "--all")
    assert read_commit(checkout) == commit
    assert read_commit(tmp_path / "worktree") == commit
    run_git(checkout, "checkout", "-q", "--detach")
    assert read_commit(checkout) == commit


def test_a_copy_states_its_commit(tmp_path: Path) -> None:
    (tmp_path / COMMIT_FILE).write_text("abc\n")
    assert read_commit(tmp_path) == "abc"
    (tmp_path / COMMIT_FILE).unlink()
    (tmp_path / ".git").write_bytes(b"gitdir: \xff")
    assert read_commit(tmp_path) == ""
