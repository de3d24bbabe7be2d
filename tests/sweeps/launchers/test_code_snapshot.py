"""The copy of the code that jobs import: complete and of the running code, or not there at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.launchers import code_snapshot
from uniclip.errors import UserError
from uniclip.identity import compute_source_hash, hash_source_tree
from uniclip.store import Store

CREATE_SNAPSHOT = """
import sys
from pathlib import Path
from sweeps.launchers import code_snapshot as snapshot
from uniclip.errors import UserError
from uniclip.identity import ROOT, compute_source_hash
from uniclip.store import Store
compute_source_hash()
edited, saved, times = ROOT / "uniclip" / "errors.py", [], int(sys.argv[2])

def edit(event, arguments):
    if event == "shutil.copytree" and Path(arguments[0]) == ROOT / "uniclip" and len(saved) < times:
        saved.append(edited.read_bytes())
        edited.write_bytes(saved[-1] + b"# half an edit")
    if event == "shutil.copytree" and Path(arguments[0]) == ROOT / "ablations" and saved:
        edited.write_bytes(saved[0])

sys.addaudithook(edit)
try:
    print(snapshot.create_snapshot(Store(sys.argv[1])).name)
except UserError as error:
    print(error)
"""
"""Creates a snapshot of a tree that is edited and restored during the given number of copies."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of this code that may be edited."""
    take_snapshot = code_snapshot.create_snapshot(Store(tmp_path_factory.mktemp("store")))
    return Path(shutil.copytree(take_snapshot, tmp_path_factory.mktemp("tree") / "code"))


def take_snapshot(tree: Path, store: Path, edits: int) -> str:
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", CREATE_SNAPSHOT, str(store), str(edits)]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return completed.stdout.rstrip("\n")


def test_a_snapshot_is_the_code_that_runs(tmp_path: Path) -> None:
    snapshot = code_snapshot.create_snapshot(Store(tmp_path))
    assert snapshot.name == compute_source_hash() == hash_source_tree(snapshot)
    assert code_snapshot.create_snapshot(Store(tmp_path)) == snapshot
    assert list(snapshot.parent.iterdir()) == [snapshot]


@pytest.mark.parametrize("damage", ["changed", "gone", "more"])
def test_a_damaged_snapshot_is_rejected(tmp_path: Path, damage: str) -> None:
    snapshot = code_snapshot.create_snapshot(Store(tmp_path))
    file = snapshot / "uniclip" / "errors.py"
    if damage == "gone":
        file.unlink()
    else:
        (file if damage == "changed" else file.with_name("more.py")).write_text("x = 1\n")
    for act in (
        lambda: code_snapshot.create_snapshot(Store(tmp_path)),
        lambda: code_snapshot.verify_snapshot(snapshot),
    ):
        with pytest.raises(UserError, match="is damaged: .* delete it and run again") as caught:
            act()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("edits", range(1, code_snapshot.MAX_COPY_ATTEMPTS))
def test_a_tree_that_is_edited_during_the_copy_is_copied_again(
    tree: Path, tmp_path: Path, edits: int
) -> None:
    name = take_snapshot(tree, tmp_path, edits)
    assert name == hash_source_tree(tree)
    (snapshot,) = Store(tmp_path).snapshot_path(name).parent.iterdir()
    assert hash_source_tree(snapshot) == snapshot.name == name


def test_a_tree_that_keeps_changing_is_rejected(tree: Path, tmp_path: Path) -> None:
    output = take_snapshot(tree, tmp_path, code_snapshot.MAX_COPY_ATTEMPTS)
    assert output == f"the code in {tree} was edited since this command was started: run it again"
    assert list(Store(tmp_path).snapshot_path("x").parent.iterdir()) == [], (
        "no temporary folder is left"
    )
