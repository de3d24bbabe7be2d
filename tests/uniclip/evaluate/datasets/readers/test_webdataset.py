"""WebDataset shards, written and read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.cli import main
from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.datasets.readers import webdataset
from uniclip.evaluate.protocols import published
from uniclip.io import hashing


def same(one: ImageDataset, two: ImageDataset) -> bool:
    """Whether pictures and truth are equal to the bit (ids aside)."""
    pictures = (np.array_equal(one.load_image(i), two.load_image(i)) for i in range(len(one)))
    return len(one) == len(two) and all(pictures) and truth(one) == truth(two)


def truth(pictures: ImageDataset) -> tuple[object, ...]:
    arrays = [None if a is None else a.tolist() for a in (pictures.labels, pictures.difficult)]
    return (*arrays, pictures.classes, pictures.captions, pictures.kind, pictures.metric)


@pytest.mark.parametrize("name", ["dtd", "voc2007", "flickr30k"])
def test_shards_hold_what_was_written(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path / "data")
    words = ["data", "export", name, f"data_root={tmp_path / 'data'}", f"to={tmp_path / 'wds'}"]
    assert main.main(words) == 0
    shards = datasets.get(f"wds:{tmp_path / 'wds'}")
    assert shards.describe_missing("") is None
    for part in dataset_trees.SPLITS:
        original = datasets.get(name).open(tmp_path / "data", part)
        read = shards.open("", part)
        if name == "dtd":
            assert read.metric == "accuracy"
        assert same(replace(original, classes=read.classes), read)
        assert len(original.classes) == len(read.classes)
    assert read.ids[:2] == ("s0000000", "s0000001")
    assert main.main(words) == 2  # nothing is written over


def test_a_shard_has_a_maximum_of_samples_and_bytes(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path / "data")
    pictures = datasets.get("dtd").open(tmp_path / "data", "train")
    assert (
        webdataset.write_shards(pictures, tmp_path / "wds", max_samples=4, templates=["a {c}."])
        == 3
    )
    split_folder = tmp_path / "wds/train"
    assert (split_folder / "nshards.txt").read_text() == "3\n"
    assert sorted(p.name for p in split_folder.iterdir()) == [
        "0.tar",
        "1.tar",
        "2.tar",
        "nshards.txt",
    ]
    with tarfile.open(split_folder / "2.tar") as archive:
        assert archive.getnames() == ["s0000008.webp", "s0000008.cls"]
        member = archive.extractfile("s0000008.cls")
        assert member is not None
        assert member.read() == b"2"
    named = (tmp_path / "wds/zeroshot_classification_templates.txt").read_text()
    assert named == "a {c}.\n"
    assert webdataset.write_shards(pictures, tmp_path / "small", max_bytes=1) == 9


def test_shards_of_other_tools_are_read(tmp_path: Path) -> None:
    """The label may come first, names may have folders, classes may have no names."""
    members = {
        "./s1.cls": b"3\n",
        "./s1.JPG": dataset_trees.encode_jpeg(3),
        "./s2.jpeg": dataset_trees.encode_jpeg(1),
        "./s2.cls": b"1",
    }
    dataset_trees.write_shard(tmp_path / "test/0.tar", members)
    pictures = datasets.get(f"wds:{tmp_path}").open("", "test")
    assert pictures.classes == ("0", "1", "2", "3")
    assert pictures.labels is not None
    assert pictures.labels.tolist() == [3, 1]
    assert dataset_trees.label_of(pictures.load_image(0), (1, 3)) == 3
    (tmp_path / "classnames.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="has 2 names but there are labels up to 3"):
        datasets.get(f"wds:{tmp_path}").open("", "test")


def test_incomplete_shards_are_refused(tmp_path: Path) -> None:
    dataset_trees.write_shard(
        tmp_path / "test/0.tar",
        {"s1.cls": b"3", "s2.jpg": dataset_trees.encode_jpeg(0), "s2.cls": b"0"},
    )
    shards = datasets.get(f"wds:{tmp_path}")
    with pytest.raises(UserError, match=r"0\.tar: sample s1 has no image"):
        shards.open("", "test")
    dataset_trees.write_shard(tmp_path / "test/0.tar", {"s1.jpg": dataset_trees.encode_jpeg(0)})
    with pytest.raises(UserError, match=r"sample s1 has no \.cls"):
        shards.open("", "test")
    (tmp_path / "test/nshards.txt").write_text("2")
    with pytest.raises(UserError, match="1.tar"):
        shards.open("", "test")
    (tmp_path / "test/0.tar").write_bytes(b"no tar file, this")
    with pytest.raises(UserError, match="is not a whole tar file"):
        shards.open("", "test")
    (tmp_path / "dataset_type.txt").write_text("segmentation")
    with pytest.raises(UserError, match="says 'segmentation'"):
        datasets.get(f"wds:{tmp_path}")


def test_shards_are_never_unpickled(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], object), allow_pickle=True)
    dataset_trees.write_shard(
        tmp_path / "test/0.tar",
        {"s1.jpg": dataset_trees.encode_jpeg(0), "s1.npy": stream.getvalue()},
    )
    (tmp_path / "dataset_type.txt").write_text("multilabel")
    with pytest.raises(UserError, match="allow_pickle=False"):
        datasets.get(f"wds:{tmp_path}").open("", "test")


def rewritten(shard: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The shard again, its members changed."""
    with tarfile.open(shard) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    number = (shard.parent / "nshards.txt").read_text()
    dataset_trees.write_shard(
        shard, {name: change(name, packed) for name, packed in members.items()}
    )
    (shard.parent / "nshards.txt").write_text(number)


def test_rewritten_shards_change_the_fingerprint(tmp_path: Path) -> None:
    """Also the last of many, at its size."""
    for i in range(40):
        dataset_trees.write_shard(
            tmp_path / f"test/{i}.tar",
            {f"s{i}.cls": b"1", f"s{i}.jpg": dataset_trees.encode_jpeg(1)},
        )
    (tmp_path / "test/nshards.txt").write_text("40")
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")

    def fingerprint() -> object:
        return datasets.get(f"wds:{tmp_path}").fingerprint("")

    def relabel(name: str, packed: bytes) -> bytes:
        return b"0" if name.endswith(".cls") else packed

    def repaint(name: str, packed: bytes) -> bytes:
        return packed if name.endswith(".cls") else packed[:-9] + b"\1" + packed[-8:]

    fingerprints = [fingerprint()]
    rewritten(tmp_path / "test/39.tar", relabel)
    fingerprints.append(fingerprint())
    rewritten(tmp_path / "test/39.tar", repaint)
    fingerprints.append(fingerprint())
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        (tmp_path / name).write_text("the {c}\ntwo {c}\n")
        fingerprints.append(fingerprint())
    assert all(one not in fingerprints[:i] for i, one in enumerate(fingerprints))
    assert fingerprint() == fingerprints[-1]


def test_a_shard_is_digested_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    dataset_trees.write_shard(
        tmp_path / "wds/test/0.tar", {"s.cls": b"1", "s.jpg": dataset_trees.encode_jpeg(1)}
    )
    shards = datasets.get(f"wds:{tmp_path / 'wds'}")
    first = shards.fingerprint("")
    assert not (tmp_path / "cache").exists(), "too recent: it could change unseen"
    monkeypatch.setattr(webdataset, "RECENT_SECONDS", 0.0)
    assert shards.fingerprint("") == first
    read = []
    monkeypatch.setattr(hashing, "digest_file", lambda path: read.append(path))
    assert shards.fingerprint("") == first
    assert read == []
    monkeypatch.undo()
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    rewritten(tmp_path / "wds/test/0.tar", lambda name, packed: packed[::-1])
    assert shards.fingerprint("") != first


@pytest.mark.parametrize("name", ["flowers102", "imagenet", "voc2007"])
def test_exported_shards_contain_the_prompts(name: str, tmp_path: Path) -> None:
    """So the prompts of a set and of its copy are the same."""
    dataset_trees.WRITERS[name](tmp_path / "data")
    words = ["data", "export", name, f"data_root={tmp_path / 'data'}", f"to={tmp_path / 'wds'}"]
    assert main.main(words) == 0
    rules, copy = (
        published.get_published_protocol("clip2021"),
        datasets.get(f"wds:{tmp_path / 'wds'}"),
    )
    original = datasets.get(name).open(tmp_path / "data", "test")
    read = copy.open("", "test")
    said, wanted = (
        rules.for_dataset(copy.name, read.classes),
        rules.for_dataset(name, original.classes),
    )
    assert [names[:1] for _, names in wanted.class_names] == [
        names for _, names in said.class_names
    ]
    assert original.classes != read.classes or name == "voc2007"
    assert copy.templates == wanted.templates
    listed = (tmp_path / "wds/zeroshot_classification_templates.txt").read_text().splitlines()
    assert listed == [t.replace("{}", "{c}") for t in wanted.templates]
