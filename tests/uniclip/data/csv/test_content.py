"""What a table and its images contain, wherever they lie."""

from __future__ import annotations

import os
import shutil
from hashlib import blake2b

import numpy as np
import pytest

from tests.helpers.csv_data import csv_config
from uniclip import data
from uniclip.data.csv import content
from uniclip.errors import DataChangedError, UserError
from uniclip.io import file_digests


def places(folder, tmp_path_factory):
    """Return the table in other spellings, behind links, and in a copy of the folder."""
    other = tmp_path_factory.mktemp("there")
    shutil.copytree(folder, other / "moved")
    (other / "link").symlink_to(folder)
    (other / "loop").symlink_to(other)
    return [
        f"{folder}//data.csv",
        f"{folder}/./../{folder.name}/data.csv",
        os.path.relpath(folder / "data.csv"),
        str(other / "link/data.csv"),
        str(other / "loop/loop/link/data.csv"),
        str(other / "moved/data.csv"),
    ]


@pytest.mark.parametrize("verify", [False, True])
def test_where_a_table_lies_is_not_part_of_its_fingerprint(folder, tmp_path_factory, verify):
    first = data.fingerprint(csv_config(folder, verify=verify))
    for path in places(folder, tmp_path_factory):
        assert data.fingerprint(csv_config(folder, path=path, verify=verify)) == first, path
        split = data.open_split(csv_config(folder, path=path, verify=verify), "test")
        assert split.load_pixels(np.array([0])).any()


def test_only_with_verify_is_an_image_part_of_the_fingerprint(folder):
    quick, verified = (csv_config(folder, verify=v) for v in (False, True))
    before = data.fingerprint(quick), data.fingerprint(verified)
    assert "images" in before[1]
    assert "images" not in before[0]
    shutil.copy2(folder / "4.png", folder / "3.png")
    assert data.fingerprint(quick) == before[0]
    assert data.fingerprint(verified) != before[1]


def test_with_verify_an_image_that_changes_after_the_split_was_opened_is_refused(folder):
    config = csv_config(folder, verify=True)
    split = data.open_split(config, "train")
    plain = data.open_split(csv_config(folder), "train")
    split.load_pixels(np.array([0]))
    for path in (split.image_paths[0], split.image_paths[1]):
        shutil.copy2(folder / "39.png", path)
    split.load_pixels(np.array([0]))  # decoded before
    with pytest.raises(DataChangedError, match="has changed since the plan; run again"):
        split.load_pixels(np.array([1]))
    plain.load_pixels(np.array([1]))


def test_a_test_table_is_part_of_the_fingerprint(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "more")
    without = data.fingerprint(csv_config(folder))
    test_path = str(tmp_path / "more" / "data.csv")
    with_test = data.fingerprint(csv_config(folder, test_path=test_path))
    assert with_test.pop("test_index") == with_test["index"]
    assert with_test == without


def test_a_table_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none.csv cannot be read \(No such file"):
        data.fingerprint(csv_config(tmp_path, path=str(tmp_path / "none.csv")))


def test_a_table_is_read_once_until_it_changes(folder, monkeypatch):
    monkeypatch.setattr(file_digests, "MIN_AGE_SECONDS", -60)
    path, reads, read = str(folder / "data.csv"), [], content._digest_content
    monkeypatch.setattr(content, "_digest_content", lambda p: reads.append(p) or read(p))
    before = content.digest_table(path)
    assert content.digest_table(path) == before
    assert before["digest"] == blake2b((folder / "data.csv").read_bytes()).hexdigest()[:32]
    assert len(reads) == 1
    (folder / "data.csv").write_text((folder / "data.csv").read_text() + "0.png,another one\n")
    assert content.digest_table(path) != before
    assert len(reads) == 2


def test_the_digest_of_a_large_table_is_remembered(folder, cache_folder, monkeypatch):
    monkeypatch.setattr(content, "MAX_LOOKED_UP_BYTES", 10)
    monkeypatch.setattr(file_digests, "MIN_AGE_SECONDS", -1.0)
    path = str(folder / "data.csv")
    expected = content.digest_table(path)
    content._digests.clear()
    with monkeypatch.context() as patch:
        patch.setattr(content, "_digest_content", None)
        assert content.digest_table(path) == expected
        content._digests.clear()
    (folder / "data.csv").write_text("picture,caption\n1.png,x\n")
    assert content.digest_table(path) != expected
