"""What enters the run id of a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.commands import provenance
from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.errors import DataChangedError, UserError


def define(**fields: object) -> CommandDefinition:
    values = {"run": "x", "steps": "1", "scores": {"a": ScoreDefinition()}, **fields}
    return CommandDefinition(**values)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code" / "lib").mkdir(parents=True)
    (tmp_path / "code" / "train.py").write_text("a")
    (tmp_path / "code" / "lib" / "model.py").write_text("b")
    (tmp_path / "yaml").mkdir()
    for name in ("00", "01"):
        (tmp_path / f"{name}.tar").write_text(name)
    return tmp_path / "yaml"


def test_files_are_named_relative_to_the_ablation(folder: Path) -> None:
    definition = define(sources=("../code", "../code/*.py"), packages=("numpy",))
    fingerprint = provenance.collect_fingerprint(definition, folder, {})
    assert sorted(fingerprint["sources"]) == ["../code/lib/model.py", "../code/train.py"]
    assert list(fingerprint["packages"]) == ["numpy"]


def test_linked_folders_are_followed_once(folder: Path) -> None:
    code = folder.parent / "code"
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "train.pyc").write_text("c")
    (folder.parent / "images").mkdir()
    (folder.parent / "images" / "0.png").write_text("d")
    (code / "images").symlink_to("../images")
    (code / "lib" / "cycle").symlink_to("..")
    files, root = provenance.find_files("sources", folder, "../code")
    assert [str(path.relative_to(root)) for path in files] == [
        "images/0.png", "lib/model.py", "train.py",
    ]  # fmt: skip


def test_data_may_be_moved_but_not_changed(folder: Path) -> None:
    definition = define(data=("{shards}/{00..01}.tar",))
    here = provenance.collect_fingerprint(definition, folder, {"shards": str(folder.parent)})
    moved = folder.parent / "moved"
    moved.mkdir()
    for name in ("00", "01"):
        (moved / f"{name}.tar").write_text(name)
    there = provenance.collect_fingerprint(definition, folder, {"shards": str(moved)})
    assert here == there
    (moved / "01.tar").write_text("other")
    changed = provenance.collect_fingerprint(definition, folder, {"shards": str(moved)})
    with pytest.raises(DataChangedError, match="command.data changed since the plan"):
        provenance.require_fingerprint(here, changed)


def test_changed_sources_are_named(folder: Path) -> None:
    definition = define(sources=("../code",))
    planned = provenance.collect_fingerprint(definition, folder, {})
    provenance.require_fingerprint(planned, planned)
    (folder.parent / "code" / "train.py").write_text("other")
    found = provenance.collect_fingerprint(definition, folder, {})
    with pytest.raises(DataChangedError, match=r"sources changed since the plan \(../code/train"):
        provenance.require_fingerprint(planned, found)


def test_what_is_missing_is_an_error(folder: Path) -> None:
    with pytest.raises(UserError, match=r"command.sources: none.py matches no file"):
        provenance.collect_fingerprint(define(sources=("none.py",)), folder, {})
    with pytest.raises(UserError, match=r"command.data: \{shards\} is empty: give it a value"):
        provenance.collect_fingerprint(define(data=("{shards}",)), folder, {"shards": ""})
    with pytest.raises(UserError, match="no-such-package is not installed"):
        provenance.collect_fingerprint(define(packages=("no-such-package",)), folder, {})


def test_what_is_not_declared_is_said() -> None:
    assert provenance.describe_unverified(define(sources=(), packages=(), data=())) == ()
    (sentence,) = provenance.describe_unverified(define(sources=("x",)))
    assert sentence == "Provenance unverified: the command declares no packages and no data."
