"""The commit of a source tree, read from git's files: no program is started."""

from __future__ import annotations

from pathlib import Path

COMMIT_FILE = "COMMIT"
"""File with the commit, in a copy of a source tree."""


def read_commit(root: Path) -> str:
    """Return the commit that is checked out at `root`, or "" where that is not known.

    Files that were changed since count for nothing: the source hash of a run is exact.
    """
    try:
        if (root / COMMIT_FILE).is_file():
            return (root / COMMIT_FILE).read_text(encoding="utf-8").strip()
        git_folder = _find_git_folder(root)
        return "" if git_folder is None else _resolve_head(git_folder)
    except (OSError, UnicodeDecodeError):
        return ""


def _find_git_folder(root: Path) -> Path | None:
    """Return the folder `.git`; in a worktree or submodule `.git` is a file that names it."""
    path = root / ".git"
    if path.is_dir():
        return path
    if not path.is_file():
        return None
    target = path.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
    return root / target


def _resolve_head(git_folder: Path) -> str:
    head = (git_folder / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head
    reference = head.removeprefix("ref:").strip()
    common_path = git_folder / "commondir"
    common_folder = git_folder
    if common_path.is_file():
        common_folder = git_folder / common_path.read_text(encoding="utf-8").strip()
    for folder in (git_folder, common_folder):
        if (folder / reference).is_file():
            return (folder / reference).read_text(encoding="utf-8").strip()
    packed_references = common_folder / "packed-refs"
    if packed_references.is_file():
        for line in packed_references.read_text(encoding="utf-8").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit
    return ""
