"""What a run records of its shards beyond names and sizes."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.helpers.shards import encode_image, shards_config, write_labelled_shards, write_tar
from uniclip import data
from uniclip.data.webdataset.index import open_index
from uniclip.errors import DataChangedError

IMAGE = encode_image(1)
MEMBERS = (("a.png", IMAGE), ("a.txt", b"a red cat"), ("b.png", IMAGE), ("b.txt", b"two dogs"))


def identify(folder, **changes):
    return data.identify_content(shards_config(folder, **changes))


def test_the_content_is_the_same_wherever_the_shards_lie_and_known_only_with_an_index(tmp_path):
    write_tar(tmp_path / "a" / "0.tar", MEMBERS)
    config = shards_config(tmp_path / "a")
    assert data.identify_content(config, builds_index=False) == {}
    first = data.identify_content(config)
    assert data.identify_content(config, builds_index=False) == first
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    os.utime(tmp_path / "b" / "0.tar", (1, 1))
    assert identify(tmp_path / "b") == first
    two_words = identify(tmp_path / "a", where="caption_words == 2")
    assert first.items() < two_words.items(), "they share an index; who fulfils it is a key more"
    assert len(two_words) == 2
    assert identify(tmp_path / "a", min_side=1).keys() != first.keys()
    assert identify(tmp_path / "a", verify=True) == {}, "the fingerprint says all"
    labelled = identify(tmp_path / "a", labelled_path=write_labelled_shards(tmp_path / "c", 6))
    assert len(labelled) == 2
    assert first.items() < labelled.items()


@pytest.mark.parametrize(
    ("old", "new"), [(b"red", b"sad"), (b"b.txt", b"c.txt"), (b"b.", b"c."), (None, None)]
)
def test_a_shard_rewritten_at_its_size_has_another_content_and_index(old, new, tmp_path):
    path = write_tar(tmp_path / "s" / "0.tar", MEMBERS)
    config = shards_config(path.parent)
    first, index, fingerprint = identify(path.parent), open_index(config), data.fingerprint(config)
    members = [MEMBERS[2], MEMBERS[3], MEMBERS[0], MEMBERS[1]]
    if old is not None:
        members = [(n.encode().replace(old, new).decode(), c.replace(old, new)) for n, c in MEMBERS]
    write_tar(path, members)
    assert data.fingerprint(config) == fingerprint
    assert open_index(config).folder != index.folder
    second = identify(path.parent)
    assert second.keys() == first.keys()
    assert second != first
    known = {key: {value} for key, value in first.items()}
    with data.expect_contents(known), pytest.raises(DataChangedError, match="other samples"):
        data.require_content(config, {})
    with pytest.raises(DataChangedError, match="other samples"):
        data.require_content(config, known)
    assert data.require_content(config, {"another key": {"0"}}) == second


def test_what_a_condition_selects_is_part_of_the_content(tmp_path):
    """The json of a sample changes nothing else in the index."""
    config = shards_config(tmp_path / "s", where="punsafe < 0.5", validation_fraction=0.3)
    contents = []
    for value in (b"0.1", b"0.9"):
        members = [
            (f"{i}.json", b'{"punsafe": %s}' % (value if i == 3 else b"0.2")) for i in range(8)
        ]
        pairs = [(f"{i}{end}", c) for i in range(8) for end, c in ((".png", IMAGE), (".txt", b"x"))]
        write_tar(tmp_path / "s" / "0.tar", sorted(members + pairs))
        contents.append(data.identify_content(config))
    first, second = contents
    assert first.keys() == second.keys()
    assert sum(first[key] != second[key] for key in first) == 1
