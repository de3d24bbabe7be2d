"""`data check`, `data download` and `data export`, by the command line."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import dataset_copies, dataset_trees
from tests.helpers.command_line import execute
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.evaluate.datasets.dataset import Dataset


def printed_words(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """Return the words of each printed line, by the first word."""
    return {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}


def test_check_prints_what_is_present_or_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.dtd(tmp_path)
    dataset_trees.imagenet(tmp_path)
    (tmp_path / "imagenet/train").rename(tmp_path / "elsewhere")
    small = {"dtd": {"train": 9, "validation": 6, "test": 6}, "imagenet": {"test": 9}}
    for name, expected in small.items():
        changed = {**vars(datasets.DATASETS[name]), "expected_counts": expected}
        monkeypatch.setitem(datasets.DATASETS, name, Dataset(**changed))
    assert execute("data", "check", f"data_root={tmp_path}") == 0
    lines = printed_words(capsys)
    assert {d.name for d in datasets.list_stored_datasets()} < set(lines)
    assert not [name for name in lines if name.endswith(("_fewshot", "_finetune"))], (
        "they have no files"
    )
    assert lines["dtd"][1:] == ["complete", "train", "9,", "validation", "6,", "test", "6"]
    assert lines["imagenet"][1:5] == ["partial", "test", "9;", "there"]
    assert lines["cifar10"][1] == "missing"
    assert "download cifar10 data_root=" in " ".join(lines["cifar10"])
    assert execute("data", "check", "dtd", f"data_root={tmp_path}") == 0
    capsys.readouterr()
    assert execute("data", "check", "dtd", "pets", f"data_root={tmp_path}") == 1
    assert list(printed_words(capsys)) == ["dtd", "oxford_pets", "1"]


def test_check_reports_other_counts_checksums_and_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.cifar100(tmp_path)
    words = ["data", "check", "cifar100", f"data_root={tmp_path}"]
    assert execute(*words) == 1
    text = capsys.readouterr().out
    assert "mismatch  train 6 (published: 50,000)" in text
    assert "published file" not in text
    assert execute(*words, "--checksums") == 1
    assert "not the published file: cifar-100-python/meta" in capsys.readouterr().out
    md5_sums = {
        name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest()
        for name in datasets.get("cifar100").md5_sums
    }
    changed = {**vars(datasets.DATASETS["cifar100"]), "md5_sums": md5_sums, "expected_counts": {}}
    monkeypatch.setitem(datasets.DATASETS, "cifar100", Dataset(**changed))
    assert execute(*words, "--checksums") == 0
    assert "MD5 of 3 files verified" in capsys.readouterr().out
    (tmp_path / "cifar-100-python/test").write_bytes(b"\x80\x02}q")
    assert execute(*words) == 1
    assert "corrupt   train 6 (a tenth held out); " in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    ["food101", "sun397", "stanford_cars", "fgvc_aircraft", "dtd", "oxford_pets", "flowers102",
     "voc2007", "flickr30k", "coco"],
)  # fmt: skip
def test_missing_files_of_listed_images_are_damage(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    assert verify.verify_dataset(dataset, tmp_path).read_error is None
    test = set(map(str, dataset.open(tmp_path, "test").reader.paths))  # type: ignore[attr-defined]
    assert set(map(str, dataset.count_and_list_images(tmp_path, "test")[1])) == test
    Path(max(test)).unlink()
    found = verify.verify_dataset(dataset, tmp_path)
    assert found.availability == "corrupt"
    assert f"{name}: 1 of {len(test)} images of test are missing, such as " in found.read_error
    assert max(test) in found.read_error
    for path in test:
        Path(path).unlink(missing_ok=True)
    assert verify.verify_dataset(dataset, tmp_path).availability in ("corrupt", "missing")


def test_a_benchmark_stands_for_its_data_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute("data", "check", "bench14", "dtd", f"data_root={tmp_path}") == 1
    assert "0 of 14 data sets" in capsys.readouterr().out


def test_checking_every_data_set_imports_no_torch(tmp_path: Path) -> None:
    for name, write in dataset_trees.WRITERS.items():
        write(tmp_path)
        assert datasets.get(name).describe_missing(tmp_path) is None
    code = (
        "import sys; from sweeps.cli import main as cli\n"
        f"cli.main(['data', 'check', 'data_root={tmp_path}'])\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert {lines[name].split()[1] for name in dataset_trees.WRITERS} == {"mismatch"}
    assert "test 7 (published: 6,149)" not in lines["flowers102"]
    assert "test 4 (published: 6,149)" in lines["flowers102"]


def test_torchvision_downloads_the_data_sets_that_it_offers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    calls = []

    def fake(root: str, download: bool, **arguments: object) -> None:
        calls.append((download, arguments))
        if len(calls) == 1:
            dataset_trees.voc2007(Path(root))

    monkeypatch.setattr(torchvision.datasets, "VOCDetection", fake)
    assert execute("data", "download", "voc2007", f"data_root={tmp_path / 'new'}") == 1
    assert calls == [
        (True, {"year": "2007", "image_set": "trainval"}),
        (True, {"year": "2007", "image_set": "test"}),
    ]
    assert "test 4 (published: 4,952)" in capsys.readouterr().out
    execute("data", "download", "voc2007", f"data_root={tmp_path / 'new'}")
    assert len(calls) == 2  # the data set is present


def test_a_list_downloads_no_data_set_of_which_there_is_a_copy_in_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    called: list[str] = []
    for dataset in datasets.DATASETS.values():
        if dataset.torchvision is not None:
            name = dataset.torchvision[0]
            record = lambda *_, name=name, **arguments: called.append(name)  # noqa: E731
            monkeypatch.setattr(torchvision.datasets, name, record)
    labels = {"train": [0, 1], "test": [0, 1]}
    dataset_copies.write_classification(tmp_path / "wds_mnist", ["a", "b"], **labels)
    execute("data", "download", "datacomp38", f"data_root={tmp_path}")
    assert "CIFAR10" in called
    assert "MNIST" not in called
    (tmp_path / "wds_mnist/test/nshards.txt").unlink()
    execute("data", "download", "datacomp38", f"data_root={tmp_path}")
    assert "MNIST" in called


@pytest.mark.parametrize("dataset", [d for d in datasets.DATASETS.values() if d.torchvision])
def test_torchvision_has_every_downloader_that_is_named(dataset: Dataset) -> None:
    import inspect

    import torchvision.datasets

    assert dataset.torchvision is not None
    name, calls = dataset.torchvision
    accepted = inspect.signature(getattr(torchvision.datasets, name)).parameters
    assert "download" in accepted
    for arguments in calls:
        assert set(arguments) <= set(accepted)


def test_a_download_that_fails_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision.datasets

    def fake(root: str, **_: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(torchvision.datasets, "DTD", fake)
    assert execute("data", "download", "dtd", f"data_root={tmp_path}") == 2
    assert "dtd could not be downloaded" in capsys.readouterr().err
    assert execute("data", "download", "stanford_cars", f"data_root={tmp_path}") == 2
    assert "cannot be downloaded automatically: its page is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data"], "data check, or data download"),
        (["data", "chek"], "did you mean check"),
        (["data", "check", "dtdd"], "did you mean dtd"),
        (["data", "check", "store=x"], "data takes no store="),
        (["data", "download"], "takes the names of data sets"),
        (["data", "export", "dtd"], "takes one data set, and to=<folder>"),
        (["data", "export", "dtd", "to=x", "data_root=nowhere"], "dtd is missing: there is no"),
        (["data", "check", "to=x"], "takes no to="),
        (["data", "hash"], "data hash needs data.path="),
        (["data", "hash", "data.path=a", "to=x"], "data hash takes no to="),
        (["data", "hash", "data.path=nowhere"], "names nowhere, which cannot be read"),
        (["data", "hash", "data.path=nowhere", "data.min_side=9"], "names nowhere, which cannot"),
        (["data", "hash", "data.path=a", "data.min_side=x"], "data.min_side"),
        (["data", "pack", "data.path=a.csv"], "data pack needs to="),
        (["data", "pack", "a.csv", "to=x"], "data pack takes no a.csv: name the images with"),
    ],
)
def test_bad_arguments_are_one_line(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(*words) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1


def test_data_sets_without_files_of_their_own_are_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, message in (("digits_finetune", "export that"), ("winogavil", "no wrong captions")):
        assert execute("data", "export", name, f"to={tmp_path}") == 2
        assert message in capsys.readouterr().err


def test_copies_in_shards_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("wds_vtab-dtd_test", "wds_mnist"):
        dataset_copies.write_classification(tmp_path / folder, ("one", "two"), test=[0, 1, 1])
    assert execute("data", "check", f"data_root={tmp_path}") == 1
    lines = printed_words(capsys)
    expected = "mismatch test 3 (published: 1,880); read from the copy wds_vtab-dtd_test/; there is"
    assert " ".join(lines["dtd"][1:]).startswith(expected)
    assert "wds_mnist/;" in lines["mnist"]
    assert "wds_mnist/;" not in lines["cifar10"]


def test_of_a_list_is_downloaded_what_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[str] = []
    monkeypatch.setattr(
        "uniclip.evaluate.datasets.download.download",
        lambda dataset, root: requests.append(dataset.name),
    )
    assert execute("data", "download", "bench14", "mnist", f"data_root={tmp_path}") == 1
    assert requests == [
        *("food101", "cifar10", "cifar100", "sun397", "fgvc_aircraft", "dtd", "oxford_pets"),
        *("caltech101", "flowers102", "voc2007", "mnist"),
    ]
    lines = printed_words(capsys)
    assert lines["imagenet"][1] == lines["stanford_cars"][1] == "missing"
