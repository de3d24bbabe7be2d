"""What is taken from a shard, what is skipped, and how both are counted."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from tests.helpers.shards import encode_image, make_sample, write_tar
from uniclip.data.webdataset.paths import Shard, list_shards
from uniclip.data.webdataset.scan import scan_shard
from uniclip.errors import DataChangedError, UserError
from uniclip.rng import hash_sample_id

IMAGE = encode_image(0)


def scan(path, where=None):
    (shard,) = list_shards(str(path))
    return scan_shard(shard, where)


def captions(content):
    ends = content.caption_ends.tolist()
    return [content.captions[a:b].decode() for a, b in zip([0, *ends], ends)]


def test_positions_captions_and_ids(tmp_path):
    members = {**make_sample(3), **make_sample(5)}
    path = write_tar(tmp_path / "a.tar", members)
    content = scan(path)
    stored = path.read_bytes()
    for block, length, name in zip(content.blocks, content.lengths, ("000000003", "000000005")):
        start = int(block) * 512
        assert stored[start : start + int(length)] == members[f"{name}.png"]
    assert captions(content) == ["red small round old 3", "red small 5"]
    assert content.ids.tolist() == [
        hash_sample_id(f"csv/{n}.png") for n in ("000000003", "000000005")
    ]
    assert not content.counts


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"a.txt": b"x", "a.json": b"{}"}, "no image"),
        ({"a.jpg": IMAGE}, "no caption"),
        ({"a.jpg": IMAGE, "a.txt": b""}, "empty caption"),
        ({"a.jpg": IMAGE, "a.txt": " \n\u200b".encode()}, "empty caption"),
        ({"a.jpg": IMAGE, "a.txt": b"caf\xe9"}, "caption not in UTF-8"),
        ({"a.jpg": b"", "a.txt": b"x"}, "empty image"),
        ({"a.gif": IMAGE, "a.txt": b"x"}, "no image"),
    ],
)
def test_a_sample_that_cannot_be_used_is_skipped_counted_and_named(tmp_path, members, reason):
    path = write_tar(tmp_path / "s.tar", {**make_sample(1), **members, **make_sample(2)})
    content = scan(path)
    assert len(content.ids) == 2
    assert content.counts == {reason: 1}
    assert content.named == (f"{path}: a: {reason}",)


def test_forms_that_are_usual_elsewhere(tmp_path):
    members = [
        ("x/1.JPEG", IMAGE),
        ("x/1.txt", b"  one\n"),
        ("x/2.webp", encode_image(2, kind="WEBP")),
        ("x/2.png", IMAGE),
        ("x/2.txt", "zwei, größer".encode()),
        ("x/2.txt", b"again"),
        ("__index__", b"no sample"),
    ]
    content = scan(write_tar(tmp_path / "s.tar", members))
    assert captions(content) == ["one", "zwei, größer"]
    assert content.ids.tolist() == [hash_sample_id("csv/x/1.JPEG"), hash_sample_id("csv/x/2.png")]


def test_a_torn_shard_keeps_its_whole_samples_and_counts_once(tmp_path):
    members = {name: content for n in range(4) for name, content in make_sample(n).items()}
    path = write_tar(tmp_path / "s.tar", members)
    whole = scan(path)
    stored = path.read_bytes()
    path.write_bytes(stored[: int(whole.blocks[2]) * 512 + 5])
    torn = scan(path)
    assert torn.ids.tolist() == whole.ids.tolist()[:2]
    assert torn.counts == {"damaged shard": 1}
    assert "within 000000002.png" in torn.named[0]
    path.write_bytes(stored[: int(whole.blocks[2]) * 512 - 100])
    assert scan(path).ids.tolist() == whole.ids.tolist()[:2]
    caption_header = stored.rindex(b"000000002.txt")
    path.write_bytes(stored[: caption_header + 100])
    lost_caption = scan(path)
    assert lost_caption.ids.tolist() == whole.ids.tolist()[:2]
    assert lost_caption.counts == {"damaged shard": 1}, "the sample that it hits is not another"
    path.write_bytes(stored[: (int(whole.blocks[2]) - 1) * 512])
    between = scan(path)
    assert between.ids.tolist() == whole.ids.tolist()[:2]
    assert between.counts == {"damaged shard": 1}
    assert (between.num_seen, whole.num_seen) == (2, 4)


@pytest.mark.parametrize("content", [b"", b"not a tar", gzip.compress(b"a tar", mtime=0)])
def test_a_file_that_is_no_tar_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "s.tar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"s\.tar cannot be used as a shard: .*leave it out of"):
        scan(path)


def test_names_below_the_current_folder_are_those_without_it(tmp_path):
    members = [(f"./{name}", content) for name, content in make_sample(3).items()]
    one, two = (
        scan(write_tar(tmp_path / f"{i}.tar", m)) for i, m in ((1, members), (2, make_sample(3)))
    )
    assert one.ids.tolist() == two.ids.tolist()
    assert one.split_positions.tolist() == two.split_positions.tolist()


def test_a_side_beyond_the_range_of_floats_has_no_aspect(tmp_path):
    path = write_tar(tmp_path / "s.tar", {**make_sample(1, width=10**400), **make_sample(2)})
    content = scan(path, "aspect > 0")
    assert (content.accepted.tolist(), content.missing_fields) == ([False, True], {"aspect": 1})


def test_a_condition_marks_samples_by_json_and_caption(tmp_path):
    numbers = range(6)
    members = [i for n in numbers for i in make_sample(n, similarity=n / 10).items()]
    members += [("x.png", IMAGE), ("x.json", b"{broken"), ("x.txt", b"no fields")]
    members += [("y.png", IMAGE), ("y.json", json.dumps([1]).encode()), ("y.txt", b"a list")]
    path = write_tar(tmp_path / "s.tar", members)
    content = scan(path, "similarity >= 0.2 and caption_words < 5 and aspect == 1.25")
    assert captions(content) == captions(scan(path))
    assert np.flatnonzero(content.accepted).tolist() == [2, 4, 5]
    assert content.num_filtered == 3
    assert content.missing_fields == {"similarity": 2}
    assert scan(path, "caption_length > 0").accepted.all(), "needs no json"
    assert scan(path).accepted.all()


def test_members_that_repeat_an_earlier_one_of_their_sample_are_counted(tmp_path):
    twice = [*make_sample(1).items(), *make_sample(1).items(), *make_sample(2).items()]
    content = scan(write_tar(tmp_path / "s.tar", twice))
    assert (len(content.ids), content.num_repeated_members) == (2, 3)


def test_a_shard_that_was_changed_meanwhile_is_not_indexed(tmp_path):
    path = write_tar(tmp_path / "s.tar", make_sample(1))
    (shard,) = list_shards(str(path))
    stale = Shard(shard.path, shard.name, 0, shard.size, shard.mtime_ns - 1)
    with pytest.raises(DataChangedError, match="changed while it was read"):
        scan_shard(stale)
