"""The data sets of few shots: one of each classification data set with training images."""

from __future__ import annotations

from uniclip.evaluate import datasets


def test_every_data_set_that_can_be_probed_has_one() -> None:
    probed = {
        dataset.name
        for dataset in datasets.DATASETS.values()
        if dataset.kind == "classification" and "train" in dataset.files
    }
    few_shot = {d.source.name for d in datasets.DATASETS.values() if d.kind == "few_shot"}
    assert few_shot == probed
    assert len(few_shot) == 21


def test_the_list_has_those_of_bench14_and_a_mean_of_its_own() -> None:
    names = datasets.read_benchmark("fewshot")
    single_label = [
        name
        for name in datasets.read_benchmark("bench14")
        if datasets.get(name).kind == "classification"
    ]
    assert list(names) == [f"{name}_fewshot" for name in [*single_label, "eurosat"]]
    assert {datasets.get_mean_list(name) for name in names} == {"fewshot"}


def test_all_three_splits_are_needed() -> None:
    dataset = datasets.get("cifar10_fewshot")
    assert set(dataset.files) == {"train", "validation", "test"}
    assert dataset.files["validation"] == datasets.get("cifar10").files["train"]
