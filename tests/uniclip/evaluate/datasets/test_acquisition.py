"""How many missing data sets are obtained, in a few lines."""

from __future__ import annotations

from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.acquisition import describe_ways

LISTS = ("bench14", "shifts", "composition", "fewshot", "long", "datacomp38")


def list_all() -> list[str]:
    return list(dict.fromkeys(n for name in LISTS for n in datasets.read_benchmark(name)))


def test_all_lists_are_obtained_in_five_ways() -> None:
    ways = describe_ways(list_all(), "data")
    assert ways == [
        "18 by python sweep.py data download bench14 datacomp38",
        "18 by download_evalsets.py data of github.com/mlfoundations/datacomp",
        "2 from huggingface.co/datasets/clip-benchmark: flickr30k, coco",
        "9 by hand: sugarcrepe, winoground, aro_relation, aro_attribution and 5 more",
        "14 with the images of other data sets (few shots and the like)",
    ]
    assert sum(int(way.split()[0]) for way in ways) == len(list_all())
    assert all(len(way) < 78 for way in ways)


def test_a_few_data_sets_are_named() -> None:
    names = ["dtd", "mnist", "winoground", "folder:/mine"]
    assert describe_ways(names, "/data") == [
        "2 by python sweep.py data download dtd mnist data_root=/data",
        "1 by hand: winoground",
    ]
    assert describe_ways(["folder:/mine"], "data") == []


def test_lists_stand_for_what_they_contain() -> None:
    """Every data set that torchvision downloads is in the lists that are named, or named itself."""
    downloadable = [d.name for d in datasets.list_stored_datasets() if d.torchvision]
    (way,) = describe_ways(downloadable, "data")
    words = way.split()[6:]
    contents = {
        name
        for word in words
        for name in (
            datasets.read_benchmark(word) if word in datasets.list_benchmarks() else [word]
        )
    }
    assert set(downloadable) <= contents
    assert "bench14" in words
    assert "fashion_mnist" in words


def test_what_datacomp_gets_are_copies_in_shards() -> None:
    (way,) = describe_ways([*datasets.read_benchmark("shifts"), "svhn", "fmow"], "sets")
    assert way == "8 by download_evalsets.py sets of github.com/mlfoundations/datacomp"
