"""The fourteen sets are read from their own formats as their publishers meant them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import bench14
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.datasets.readers import cifar, voc2007

SETS = [d.name for d in (*bench14.CLASSIFICATION_DATASETS, *bench14.RETRIEVAL_DATASETS)]
LISTED = [name for name in SETS if name not in ("caltech101", "voc2007", "flickr30k", "coco")]


@pytest.mark.parametrize("name", LISTED)
def test_a_classification_set_is_read_as_published(name: str, tmp_path: Path) -> None:
    truth = dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    read = {part: dataset.open(tmp_path, part) for part in dataset.splits}
    for part, pictures in read.items():
        assert (pictures.name, pictures.split, pictures.classes) == (name, part, truth.classes)
        assert pictures.labels is not None
        assert pictures.labels.dtype == np.int64
        for i, label in enumerate(pictures.labels):
            assert pictures.load_image(i).mode == "RGB"
            assert dataset_trees.label_of(pictures.load_image(i), set(pictures.labels)) == label
    for part, rows in truth.rows.items():
        found = rows_of(read[part])
        if part == "train" and dataset.held_out:
            found = [row for row in rows if row in found + rows_of(read["validation"])]
            assert len(rows) == len(read["train"]) + len(read["validation"])
            assert 0 < len(read["validation"]) <= len(read["train"])
        assert found == rows
        assert dataset.count_and_list_images(tmp_path, part)[0] == len(rows)


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_captions_are_kept_whole_in_their_order(name: str, tmp_path: Path) -> None:
    """Captions with commas, quotes and ".jpg," in them; duplicates; another number of them each."""
    truth = dataset_trees.WRITERS[name](tmp_path)
    for part in dataset_trees.PARTS:
        pictures = datasets.get(name).open(tmp_path, part)
        assert list(zip(pictures.ids, pictures.captions)) == truth.rows[part]
        assert [
            dataset_trees.label_of(pictures.load_image(i), range(3)) for i in range(len(pictures))
        ] == list(range(len(pictures)))
    assert [len(c) for c in pictures.captions] == [3, 3, 1]
    own = dataset_trees.karpathy(tmp_path, name)
    for part in dataset_trees.PARTS:
        pictures = datasets.get(name).open(tmp_path, part)
        assert list(zip(pictures.ids, pictures.captions)) == own[part]
    assert pictures.load_image(1).mode == "RGB"


def test_voc_difficult_objects_are_labels_to_be_left_out(tmp_path: Path) -> None:
    truth = dataset_trees.voc2007(tmp_path)
    dataset = datasets.get("voc2007")
    pictures = dataset.open(tmp_path, "test")
    dog, person, train = (pictures.classes.index(c) for c in ("dog", "person", "train"))
    assert pictures.classes == truth.classes
    assert pictures.ids == ("000200", "000201", "000202", "000203")
    assert pictures.labels is not None
    assert pictures.difficult is not None
    assert pictures.labels.shape == (4, 20)
    assert pictures.labels[:, dog].tolist() == [1, 1, 0, 0]
    assert pictures.difficult[:, dog].tolist() == [False, True, False, False]
    assert pictures.labels[:, person].tolist() == [1, 0, 0, 1]
    assert pictures.difficult[:, person].tolist() == [False] * 4  # one of the two is easy
    assert pictures.labels[:, train].tolist() == [0, 0, 1, 0]
    assert pictures.labels.sum() == 6
    assert pictures.difficult.sum() == 2
    said = np.array([values for _, values in truth.rows["test"]])
    objects = voc2007.read_annotations(tmp_path / "VOCdevkit/VOC2007/Annotations", pictures.ids)
    assert np.array_equal(objects, said)
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/dog_test.txt").unlink()
    again = dataset.open(tmp_path, "test")  # now from the annotations
    assert np.array_equal(again.labels, pictures.labels)
    assert np.array_equal(again.difficult, pictures.difficult)


def test_caltech_has_its_background_and_thirty_a_class_to_train(tmp_path: Path) -> None:
    truth = dataset_trees.caltech101(tmp_path)
    dataset = datasets.get("caltech101")
    parts = {part: dataset.open(tmp_path, part) for part in dataset.splits}
    assert parts["test"].classes == truth.classes
    assert {p: np.bincount(parts[p].labels).tolist() for p in parts} == {  # type: ignore[arg-type]
        "train": [27] * 3,
        "test": [3] * 3,
        "validation": [3] * 3,
    }
    assert sorted(row for p in parts.values() for row in rows_of(p)) == sorted(truth.rows["all"])
    assert dataset.metric == "mean_per_class"


def test_parts_share_no_picture_and_stay_where_they_are(tmp_path: Path) -> None:
    dataset_trees.caltech101(tmp_path)
    dataset = datasets.get("caltech101")
    before = {part: set(dataset.open(tmp_path, part).ids) for part in dataset.splits}
    assert sum(map(len, before.values())) == len(set.union(*before.values()))
    (tmp_path / "caltech101/101_ObjectCategories/Faces/image_0001.jpg").unlink()
    after = {part: set(dataset.open(tmp_path, part).ids) for part in dataset.splits}
    assert sum(len(before[p] ^ after[p]) for p in before) <= 5  # at most one moves into each gap


@pytest.mark.parametrize("name", ["sun397", "imagenet", "caltech101"])
def test_the_order_is_not_the_file_systems(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    before, stamp = dataset.open(tmp_path, "test").ids, dataset.fingerprint(tmp_path)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda p: listdir(p)[::-1])
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(list(iterdir(self))[::-1]))
    walk = os.walk

    def backwards(top: Path, **how: bool) -> Iterator[tuple[str, list[str], list[str]]]:
        for place, folders, names in walk(top, **how):
            yield place, folders, names[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert dataset.open(tmp_path, "test").ids == before
    assert dataset.fingerprint(tmp_path) == stamp


@pytest.mark.parametrize("name", SETS)
def test_what_is_missing_is_named_with_how_to_get_it(name: str, tmp_path: Path) -> None:
    dataset = datasets.get(name)
    reason = dataset.describe_missing(tmp_path)
    assert reason is not None
    assert reason.startswith(f"there is no {tmp_path}")
    assert reason.endswith(dataset.download_hint)
    with pytest.raises(UserError, match=f"{name} is missing: there is no"):
        dataset.open(tmp_path, "test")
    dataset_trees.WRITERS[name](tmp_path)
    assert dataset.describe_missing(tmp_path) is None


def test_a_part_that_is_not_there_does_not_hide_another(tmp_path: Path) -> None:
    dataset_trees.imagenet(tmp_path)
    (tmp_path / "imagenet/train").rename(tmp_path / "elsewhere")
    dataset = datasets.get("imagenet")
    assert dataset.describe_missing(tmp_path, ("test",)) is None
    assert "imagenet/train" in str(dataset.describe_missing(tmp_path, ("validation",)))
    assert len(dataset.open(tmp_path, "test")) == 9


@pytest.mark.parametrize("name", SETS)
def test_no_part_is_passed_over_in_silence(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    with pytest.raises(UserError, match=f"unknown split of {name} 'val'"):
        dataset.open(tmp_path, "val")  # type: ignore[arg-type]
    ids = [(part, i) for part in dataset.splits for i in dataset.open(tmp_path, part).ids]
    assert len(set(ids)) == len(ids)
    assert set(dataset.splits) == set(dataset_trees.PARTS)


@pytest.mark.parametrize("name", SETS)
def test_the_fingerprint_is_of_the_content(name: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        dataset_trees.WRITERS[name](root)
    dataset = datasets.get(name)
    stamp = dataset.fingerprint(one)
    assert stamp == dataset.fingerprint(two)  # wherever it lies
    assert stamp["dataset"] == name
    assert str(one) not in str(stamp)
    first = dataset.files["test"][0].split("|")[0]
    index = two / first
    if index.is_file():
        index.write_bytes(index.read_bytes()[:-1] + b"?")
    else:
        picture = next(p for p in sorted(index.rglob("*")) if p.is_file() and p.stat().st_size)
        picture.write_bytes(picture.read_bytes() + b"?")
    assert stamp != dataset.fingerprint(two)


def test_pictures_in_another_size_are_other_data(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    dataset = datasets.get("dtd")
    stamp = dataset.fingerprint(tmp_path)
    for path in (tmp_path / "dtd/dtd/images").rglob("*.jpg"):
        dataset_trees.draw(path, 0, side=60)
    assert stamp != dataset.fingerprint(tmp_path)


def test_classes_are_bound_to_their_key_where_a_part_lacks_one(tmp_path: Path) -> None:
    """torchvision numbers the classes of DTD and of the Pets by what the part at hand holds."""
    dataset_trees.dtd(tmp_path)
    dataset_trees.oxford_pets(tmp_path)
    for path, gone in (
        ("dtd/dtd/labels/test1.txt", "banded"),
        ("oxford-iiit-pet/annotations/test.txt", "Abyssinian"),
    ):
        lines = (tmp_path / path).read_text().splitlines()
        dataset_trees.text(tmp_path / path, [line for line in lines if not line.startswith(gone)])
    for name in ("dtd", "oxford_pets"):
        pictures = datasets.get(name).open(tmp_path, "test")
        assert len(pictures.classes) == 3
        assert pictures.labels is not None
        assert set(pictures.labels) == {1, 2}
        for i, label in enumerate(pictures.labels):
            assert pictures.classes[label] in pictures.ids[i]


@pytest.mark.parametrize(("name", "arguments"), [
    ("OxfordIIITPet", {"split": "test"}),
    ("SUN397", {}),
])  # fmt: skip
def test_torchvision_reads_the_same_trees(name: str, arguments: dict, tmp_path: Path) -> None:
    """So the trees are valid, and the readers that are ours agree with the ones that are not."""
    import torchvision.datasets

    ours = {"OxfordIIITPet": "oxford_pets", "SUN397": "sun397"}[name]
    dataset_trees.WRITERS[ours](tmp_path)
    theirs = getattr(torchvision.datasets, name)(tmp_path, **arguments)
    pictures = datasets.get(ours).open(tmp_path, "test")
    key = {"OxfordIIITPet": "_images", "SUN397": "_image_files"}[name]
    found = {Path(p).stem: label for p, label in zip(getattr(theirs, key), theirs._labels)}
    assert rows_of(pictures)
    for i, label in rows_of(pictures):
        assert found[Path(i).stem] == label
    assert len(theirs) == (9 if name == "OxfordIIITPet" else 21)  # all parts at once


def test_a_pickle_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    dataset_trees.cifar10(tmp_path)
    path = tmp_path / "cifar-10-batches-py/test_batch"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    path.write_bytes(pickle.dumps({"data": Evil(), "labels": [0]}))
    with pytest.raises(UserError, match=r"mkdir, which no image needs"):
        datasets.get("cifar10").open(tmp_path, "test")
    assert not (tmp_path / "pwned").exists()
    path.write_bytes(b"\x80\x02}q")
    with pytest.raises(UserError, match="test_batch is not a file of this data set"):
        datasets.get("cifar10").open(tmp_path, "test")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_pickled_by_python_3_are_read_too(protocol: int, tmp_path: Path) -> None:
    value = {"data": np.arange(6, dtype=np.uint8), "labels": [1]}
    (tmp_path / "file").write_bytes(pickle.dumps(value, protocol=protocol))
    if protocol == 5:
        with pytest.raises(UserError, match="_frombuffer"):
            cifar.safe_unpickle(tmp_path / "file")
    else:
        assert cifar.safe_unpickle(tmp_path / "file")["data"].tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("food101", "food-101/meta/test.json", "index files of its test split"),
        ("stanford_cars", "stanford_cars/cars_test_annos_withlabels.mat", "its test split"),
        ("sun397", "SUN397/Testing_01.txt", "is of no class in ClassName.txt"),
        ("dtd", "dtd/dtd/labels/test1.txt", "its test split"),
        ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", "its test split"),
        ("flowers102", "flowers-102/setid.mat", "its test split"),
        ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/cat_test.txt", "its test split"),
        ("flickr30k", "flickr30k/flickr30k_test_karpathy.txt", "line 2: expected"),
        ("coco", "coco/coco_test_karpathy.json", "its test split"),
    ],
)
def test_a_damaged_index_is_one_clear_line(name: str, path: str, said: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    (tmp_path / path).write_text("/x/y/z.jpg\n/x/y/z.jpg\n")
    with pytest.raises(UserError, match=said) as caught:
        datasets.get(name).open(tmp_path, "test")
    assert "\n" not in str(caught.value)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    (tmp_path / "dtd/dtd/images/banded/banded_test0000.jpg").write_bytes(b"no picture")
    pictures = datasets.get("dtd").open(tmp_path, "test")
    with pytest.raises(UserError, match="dtd: image banded/banded_test0000 cannot be read"):
        pictures.load_image(0)
    with pytest.raises(IndexError):
        pictures.load_image(len(pictures))


@pytest.mark.parametrize("name", ["dtd", "cifar10", "flickr30k"])
def test_pictures_can_be_sent_to_data_workers(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    pictures = datasets.get(name).open(tmp_path, "validation")
    sent = pickle.loads(pickle.dumps(pictures))
    assert sent.ids == pictures.ids
    assert np.array_equal(np.asarray(sent.load_image(0)), np.asarray(pictures.load_image(0)))


def test_aliases_and_unknown_names() -> None:
    assert datasets.get("pets").name == "oxford_pets"
    with pytest.raises(UserError, match=r"unknown data set 'cifra10': did you mean cifar10"):
        datasets.get("cifra10")


def test_the_benchmarks_are_lists_of_known_sets(tmp_path: Path) -> None:
    assert set(datasets.read_benchmark("bench14")) == set(SETS)
    assert len(datasets.read_benchmark("bench14")) == 14
    eleven = datasets.read_benchmark("uniclip11")
    assert len(eleven) == 11
    assert set(SETS) - set(eleven) == {"voc2007", "flickr30k", "coco"}
    dataset_trees.text(
        tmp_path / "benchmark/mine.yaml", ["- pets", "- dtd", "- openmoji", "- folder:x"]
    )
    with pytest.raises(UserError, match="unknown data set 'openmoji'"):
        datasets.read_benchmark("mine", [tmp_path])
    mine = datasets.read_benchmark("mine", [datasets.CONF, tmp_path], extra_names=["openmoji"])
    assert mine == ("oxford_pets", "dtd", "openmoji", "folder:x")
    assert datasets.list_benchmarks([tmp_path]) == ("mine",)
    for lines in (["pets"], ["- pets", "- oxford_pets"], ["- 3"], ["- [", "a"], ["- nonsense"]):
        dataset_trees.text(tmp_path / "benchmark/bad.yaml", lines)
        with pytest.raises(UserError):
            datasets.read_benchmark("bad", [tmp_path])
    with pytest.raises(UserError, match="unknown benchmark"):
        datasets.read_benchmark("bench15")


def test_the_registry_is_light() -> None:
    code = (
        "import sys; from uniclip.evaluate import datasets\n"
        "d = datasets.get('dtd'); d.describe_missing('/nowhere'); d.fingerprint('/nowhere')\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
