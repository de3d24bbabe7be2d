"""The data sets of fine-tuning: one of each classification data set with training images."""

from __future__ import annotations

from pathlib import Path

from tests.helpers import dataset_trees, stub_models
from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.fine_tuning import count_published_images


def test_the_list_has_those_of_few_shots_and_a_mean_of_its_own() -> None:
    names = datasets.read_benchmark("finetune")
    few_shot = [name.replace("_fewshot", "") for name in datasets.read_benchmark("fewshot")]
    assert list(names) == [f"{name}_finetune" for name in few_shot]
    assert {datasets.get_mean_list(name) for name in names} == {"finetune"}


def test_it_is_in_no_other_list() -> None:
    for benchmark in set(datasets.list_benchmarks()) - {"finetune"}:
        assert not [n for n in datasets.read_benchmark(benchmark) if datasets.is_fine_tuning(n)]
    assert not datasets.is_fine_tuning("cifar10")
    assert not datasets.is_fine_tuning("openmoji")


def test_numbers_of_images_are_those_of_the_source() -> None:
    assert count_published_images(datasets.get("cifar10_finetune")) == (45_000, 5_000, 10_000)
    assert count_published_images(datasets.get("dtd_finetune")) == (1_880, 1_880, 1_880)
    for dataset in datasets.DATASETS.values():
        if datasets.is_fine_tuning(dataset.name):
            assert min(count_published_images(dataset)) > 0, dataset.name


def make_config(root: Path) -> RunConfig:
    return stub_models.config({"name": "scenes"}, runtime={"data_root": str(root)})


def test_prompts_and_metric_are_those_of_the_source(tmp_path: Path) -> None:
    dataset_trees.WRITERS["oxford_pets"](tmp_path)
    config = make_config(tmp_path)
    original = evaluate.build_protocol("oxford_pets", config)
    tuned = evaluate.build_protocol("oxford_pets_finetune", config)
    assert tuned["metric"] == original["metric"] == "mean_per_class"
    assert [tuned[k] for k in ("templates", "names")] == [original["templates"], original["names"]]
    assert tuned["linear_probe"] is None
    assert tuned["deviations"] == [], "they are those of probes and other data sets"
    assert tuned["fine_tuning"]["learning_rates"] == [1e-5, 1e-4, 1e-3]


def test_without_training_images_it_is_missing(tmp_path: Path) -> None:
    dataset_trees.WRITERS["imagenet"](tmp_path)
    config = make_config(tmp_path)
    assert evaluate.describe_missing("imagenet_finetune", config) is None
    (tmp_path / "imagenet/train").rename(tmp_path / "train")
    assert "imagenet/train" in (evaluate.describe_missing("imagenet_finetune", config) or "")
    assert evaluate.describe_missing("imagenet", config) is None
