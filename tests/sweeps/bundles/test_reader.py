"""Reading an unpacked bundle: every file is compared, and nothing else may lie there."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.bundles.reader import check_bundle
from tests.helpers.command_line import read_files
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    check_bundle(lab.bundle, unpack_to=tmp_path / "b").require_intact(lab.bundle)
    (tmp_path / "b" / "MANIFEST.sha256").write_bytes(check_bundle(lab.bundle).manifest.to_bytes())
    return tmp_path / "b"


def test_an_unpacked_bundle_is_a_bundle(folder: Path, tmp_path: Path) -> None:
    checked = check_bundle(folder, unpack_to=tmp_path / "again")
    assert checked.damage == ()
    names = {
        str(Path(path).relative_to(tmp_path / "again")) for path in read_files(tmp_path / "again")
    }
    assert names == set(checked.manifest.hashes)


def test_each_kind_of_damage_is_named(folder: Path) -> None:
    names = sorted(check_bundle(folder).manifest.hashes)
    (folder / names[0]).write_bytes(b"changed")
    (folder / names[1]).unlink()
    (folder / names[2]).unlink()
    (folder / names[2]).symlink_to("/etc/passwd")
    (folder / "extra").write_text("")
    (folder / "link").symlink_to("/etc")
    checked = check_bundle(folder)
    assert {line.partition(":")[0] for line in checked.damage} == {*names[:3], "extra", "link"}
    with pytest.raises(UserError, match=r"is damaged: .* \(and 4 more\)"):
        checked.require_intact(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"no bundle|no such bundle"):
            check_bundle(path)
