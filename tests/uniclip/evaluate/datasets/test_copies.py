"""Copies of data sets in shards, as CLIP_benchmark and DataComp publish them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_copies, dataset_trees, shift_trees, stub_models
from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.evaluate import datasets, prompts
from uniclip.evaluate.benchmarks.published import build_published_benchmark
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import copies
from uniclip.evaluate.datasets.readers.imagenet_shifts import list_imagenet_classes
from uniclip.evaluate.datasets.verify import verify_dataset

NAMES = ("first thing", "second_thing", "third thing")
LABELS = [2, 0, 1, 1, 0]
CLASSIFICATION = [n for n in copies.COPY_KEYS if datasets.get(n).kind == "classification"]
RETRIEVAL = [n for n in copies.COPY_KEYS if datasets.get(n).kind == "retrieval"]


def build_config(root: Path, protocol: Any = "clip2021") -> RunConfig:
    config = stub_models.config({"name": "scenes"})
    runtime = replace(config.runtime, data_root=str(root), protocol=protocol)
    return replace(config, runtime=runtime)


def make_model(config: RunConfig, names: tuple[str, ...]) -> stub_models.Stub:
    """Return a model that names the class in an image's colour, out of the first 27."""
    colours = np.array([dataset_trees.colour(label) for label in range(min(27, len(names)))])
    prompt_rows = {
        template.replace("{c}", name): row
        for row, name in reversed(list(enumerate(names)))
        for template in dataset_copies.TEMPLATES
    }

    def images(pixels, vectors):
        means = pixels.astype(float).mean(axis=(2, 3))
        return np.eye(len(names))[np.abs(means[:, None] - colours[None]).sum(2).argmin(1)]

    def texts(texts):
        return np.eye(len(names))[[prompt_rows[text] for text in texts]]

    return stub_models.Stub(config, images, texts, lambda pixels: pixels.mean(axis=(2, 3)))


def list_names(name: str) -> tuple[str, ...]:
    """Return the names in a copy: those of all classes where these are ImageNet's."""
    if name not in copies.IMAGENET_SUBSETS:
        return NAMES
    classes = list_imagenet_classes(copies.IMAGENET_SUBSETS[name])
    return tuple(names[0] for names in prompts.get_class_names("imagenet", classes).values())


@pytest.mark.parametrize("suffix", ["", "_test"])
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_a_copy_is_scored_with_its_own_names_and_templates(
    name: str, suffix: str, tmp_path: Path
) -> None:
    key, names = copies.COPY_KEYS[name][-1], list_names(name)
    folder = tmp_path / f"wds_{key}{suffix}"
    dataset_copies.write_classification(folder, names, test=LABELS)
    config = build_config(tmp_path)
    assert evaluate.describe_missing(name, config) is None
    protocol = evaluate.build_protocol(name, config)
    assert protocol["templates"] == ["a photo of {}.", "{} on white."]
    scores, predictions = evaluate.evaluate(name, make_model(config, names), config)
    assert stub_models.values(scores)["zeroshot"] == 1
    assert predictions["labels"].tolist() == LABELS


def test_every_key_is_one_of_either_library() -> None:
    """The keys of CLIP_benchmark's `webdatasets.txt` and of DataComp's `tasklist.yml`."""
    known = """mscoco_captions flickr30k imagenet1k imagenetv2 imagenet_sketch imagenet-a imagenet-r
        imagenet-o objectnet fer2013 voc2007 voc2007_multilabel sun397 cars fgvc_aircraft mnist
        stl10 gtsrb country211 renderedsst2 vtab-caltech101 vtab-cifar10 vtab-cifar100
        vtab-clevr_count_all vtab-clevr_closest_object_distance vtab-dtd vtab-eurosat
        vtab-kitti_closest_vehicle_distance vtab-flowers vtab-pets vtab-pcam vtab-resisc45
        vtab-svhn cifar10 food101""".split()
    assert sorted(k for keys in copies.COPY_KEYS.values() for k in keys) == sorted(known)
    assert set(copies.COPY_KEYS) <= set(datasets.DATASETS)
    own = {"iwildcam", "camelyon17", "fmow", "dollar_street", "geode"}  # DataComp's alone
    uncopied = {*datasets.read_benchmark("datacomp38")} - set(copies.COPY_KEYS) - own
    assert uncopied == {"winogavil"}


@pytest.mark.parametrize("name", list(copies.IMAGENET_SUBSETS))
def test_labels_of_imagenet_count_its_classes(name: str, tmp_path: Path) -> None:
    names = list_names(name)
    key = copies.COPY_KEYS[name][0]
    dataset_copies.write_classification(tmp_path / f"wds_{key}", names, test=[0, len(names) - 1])
    images = copies.resolve_dataset(datasets.get(name), tmp_path).open(tmp_path, "test")
    assert images.classes == list_imagenet_classes(copies.IMAGENET_SUBSETS[name])
    assert images.labels is not None
    assert images.labels.tolist() == [0, len(names) - 1]
    dataset_copies.write_class_names(tmp_path / f"wds_{key}", names[1:])
    with pytest.raises(UserError, match=f"has {len(names) - 1} names, and not {len(names)}"):
        copies.resolve_dataset(datasets.get(name), tmp_path).open(tmp_path, "test")


def test_the_names_of_imagenet_are_those_of_clip_benchmark_in_its_order() -> None:
    pytest.importorskip("clip_benchmark")
    file = resources.files("clip_benchmark") / "datasets/en_classnames.json"
    assert tuple(json.loads(file.read_text())["imagenet1k"]) == list_names("imagenet")


@pytest.mark.parametrize("name", RETRIEVAL)
def test_captions_of_a_copy_are_one_a_line(name: str, tmp_path: Path) -> None:
    dataset_copies.write_retrieval(tmp_path / f"wds_{copies.COPY_KEYS[name][0]}")
    config = build_config(tmp_path)
    images = copies.resolve_dataset(datasets.get(name), tmp_path).open(tmp_path, "test")
    assert images.captions == dataset_copies.CAPTIONS
    model = stub_models.Stub(
        config,
        lambda pixels, vectors: np.eye(4)[np.arange(len(pixels))],
        lambda texts: np.eye(4)[[0 if "dogs" in t or t.endswith("a dog") else 1 for t in texts]],
    )
    scores, _ = evaluate.evaluate(name, model, config)
    # The four captions are "a dog" (of image 0), "two dogs" (0), "one cat" (1 and 2) and "a cat \\n
    # and a dog" (2). All but "one cat" are nearest to image 0, for which the first place is a tie
    # of three of which two are right. Image 1 has its caption first, and for image 2 all four tie.
    values = stub_models.values(scores)
    assert values["retrieval.i2t.r1"] == pytest.approx((2 / 3 + 1 + 2 / 4) / 3)
    assert values["retrieval.i2t.r5"] == 1
    assert evaluate.describe_missing(f"{name}_order", config) is None
    scores, _ = evaluate.evaluate(f"{name}_order", model, config)
    assert "composition.text" in stub_models.values(scores)


def test_labels_of_a_copy_of_voc_are_several(tmp_path: Path) -> None:
    rows = [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    dataset_copies.write_multilabel(tmp_path / "wds_voc2007_multilabel", NAMES, rows)
    config = build_config(tmp_path, "laion_cb")
    images = copies.resolve_dataset(datasets.get("voc2007"), tmp_path).open(tmp_path, "test")
    assert images.labels is not None
    assert images.labels.tolist() == rows
    scores, _ = evaluate.evaluate("voc2007", make_model(config, NAMES), config)
    # "first thing": 1 of 1 found; "second": 1 of 1; "third": image 2 is first, image 0 ties with 1.
    expected = (1 + 1 + (1 + 2 / 3) / 2) / 3
    assert stub_models.values(scores)["zeroshot"] == pytest.approx(expected)


def test_files_of_the_publisher_precede_a_copy(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    dataset_copies.write_classification(tmp_path / "wds_vtab-dtd", NAMES, test=LABELS)
    dataset = datasets.get("dtd")
    assert copies.resolve_dataset(dataset, tmp_path) is dataset
    config = build_config(tmp_path)
    of_publisher = evaluate.build_protocol("dtd", config)
    shutil.rmtree(tmp_path / "dtd")
    of_copy = evaluate.build_protocol("dtd", config)
    assert of_copy["data"]["split_rule"] == copies.SPLIT_RULE
    assert of_copy["names"] != of_publisher["names"]
    assert list(verify_dataset(copies.resolve_dataset(dataset, tmp_path), tmp_path).describe()) == [
        "test 5 (published: 1,880)",
        "read from the copy wds_vtab-dtd/",
        "there is no " + f"{tmp_path}/wds_vtab-dtd/train/nshards.txt; download {copies.HUB}/"
        "wds_vtab-dtd into wds_vtab-dtd/",
    ]


def test_the_copy_of_clip_benchmark_precedes_that_of_datacomp(tmp_path: Path) -> None:
    for folder in ("wds_cifar10_test", "wds_vtab-cifar10_test", "wds_vtab-cifar10"):
        dataset_copies.write_classification(tmp_path / folder, NAMES, test=LABELS)
        resolved = copies.resolve_dataset(datasets.get("cifar10"), tmp_path)
        assert resolved.copy_folder == folder


def test_training_images_of_a_copy_are_probed(tmp_path: Path) -> None:
    train = [0, 1, 2] * 8
    dataset_copies.write_classification(tmp_path / "wds_vtab-svhn", NAMES, train=train, test=LABELS)
    dataset_copies.write_classification(tmp_path / "wds_mnist", NAMES, train=train, test=LABELS)
    config = build_config(tmp_path)
    for name in ("svhn", "mnist"):
        assert evaluate.describe_missing_probe_data(name, config) is None
        values = stub_models.values(evaluate.evaluate(name, make_model(config, NAMES), config)[0])
        assert values["probe"] == 1
    assert evaluate.describe_missing("mnist_fewshot", config) is None
    scores, _ = evaluate.evaluate("mnist_fewshot", make_model(config, NAMES), config)
    assert stub_models.values(scores)["fewshot.1"] == 1


def test_fine_tuning_and_few_shots_have_the_images_of_the_copy(tmp_path: Path) -> None:
    folder = tmp_path / "wds_mnist"
    dataset_copies.write_classification(folder, NAMES, train=[0, 1, 2] * 8, test=LABELS)
    for name, kind in (("mnist_fewshot", "few_shot"), ("mnist_finetune", "fine_tuning")):
        resolved = copies.resolve_dataset(datasets.get(name), tmp_path)
        assert resolved.kind == kind
        assert resolved.source is not None
        assert resolved.source.copy_folder == "wds_mnist"


def test_few_shots_need_training_images(tmp_path: Path) -> None:
    dataset_copies.write_classification(tmp_path / "wds_mnist_test", NAMES, test=LABELS)
    config = build_config(tmp_path)
    assert "wds_mnist_test/train" in str(evaluate.describe_missing("mnist_fewshot", config))
    assert "wds_mnist_test/train" in str(evaluate.describe_missing_probe_data("mnist", config))


@pytest.mark.parametrize("has_original", [False, True])
def test_a_copy_of_a_shift_is_compared_with_imagenet(has_original: bool, tmp_path: Path) -> None:
    """ImageNet itself may be the publisher's or a copy: classes are those of WordNet in both."""
    names = list_names("imagenet_a")
    dataset_copies.write_classification(tmp_path / "wds_imagenet-a", names, test=[0, 1, 2, 3])
    all_names = list_names("imagenet")
    labels = [list_imagenet_classes().index(c) for c in list_imagenet_classes("imagenet_a")[:3]]
    if has_original:
        for i, label in enumerate(labels):
            synset = list_imagenet_classes()[label]
            dataset_trees.draw(tmp_path / f"imagenet/val/{synset}/{i}.JPEG", i)
    else:
        dataset_copies.write_classification(tmp_path / "wds_imagenet1k", all_names, test=labels)
    config = build_config(tmp_path)
    model = make_model(config, names)
    scores, _ = evaluate.evaluate("imagenet_a", model, config)
    hits = [has_original or label % 27 == i for i, label in enumerate(labels)]
    assert stub_models.values(scores)["shift.clean"] == np.mean(hits)


def test_all_images_are_the_test_images_of_a_copy(tmp_path: Path) -> None:
    """CLIP_benchmark has nothing but these either."""
    folder = tmp_path / "wds_vtab-eurosat"
    dataset_copies.write_classification(folder, NAMES, train=[0, 1, 2] * 8, test=LABELS)
    config = build_config(tmp_path, "laion_cb")
    scores, _ = evaluate.evaluate("eurosat", make_model(config, NAMES), config)
    assert stub_models.values(scores)["zeroshot"] == 1
    assert not [score for score in scores if score.name.startswith("probe")]


def test_a_copy_that_is_gone_is_scored_from_its_embeddings(tmp_path: Path) -> None:
    folder = tmp_path / "data/wds_vtab-dtd_test"
    dataset_copies.write_classification(folder, NAMES, test=LABELS)
    config, cache_folder = build_config(tmp_path / "data"), tmp_path / "cache"
    model = stub_models.ColourModel(config)
    before = evaluate.evaluate("dtd", model, config, cache_folder, "weights")
    evaluation_hash = evaluate.evaluation_hash("dtd", config, cache_folder)
    shutil.rmtree(folder)
    assert evaluate.describe_missing("dtd", config) is not None
    assert evaluate.describe_missing("dtd", config, cache_folder) is None
    assert evaluate.evaluation_hash("dtd", config, cache_folder) == evaluation_hash
    benchmark = build_published_benchmark(
        "dtd", config.runtime, Cache(cache_folder, "weights"), lambda: False
    )
    assert benchmark.resolve_dataset().class_names == {name: (name,) for name in NAMES}
    again = evaluate.evaluate("dtd", model, config, cache_folder, "weights")
    assert stub_models.values(again[0]) == stub_models.values(before[0])


def test_names_of_the_users_protocol_precede_those_of_a_copy(tmp_path: Path) -> None:
    dataset_copies.write_classification(tmp_path / "wds_vtab-dtd", NAMES, test=LABELS)
    mine = {"templates": {"dtd": ["{}!"]}, "names": {"dtd": {"first thing": ["one"]}}}
    config = build_config(tmp_path, {"name": "mine", "base": "clip2021", **mine})
    benchmark = build_published_benchmark("dtd", config.runtime, Cache(), lambda: False)
    protocol = benchmark._with_stored_templates(benchmark.resolve_dataset())
    rules = protocol.for_dataset("dtd", NAMES)
    assert rules.templates == ("{}!",)
    assert dict(rules.class_names) == {
        "first thing": ("one",),
        "second_thing": ("second_thing",),
        "third thing": ("third thing",),
    }


class SmallImages:
    """A data set of CLIP_benchmark's kind: (encoded image, label) pairs, with names."""

    classes = list(NAMES)
    templates = list(dataset_copies.TEMPLATES)

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, i: int) -> tuple[bytes, int]:
        from clip_benchmark.webdataset_builder import PIL_to_bytes

        image = Image.new("RGB", (9, 9), dataset_trees.colour(LABELS[i]))
        return PIL_to_bytes("webp")(image), LABELS[i]


@pytest.mark.slow
def test_what_clip_benchmark_writes_is_read(tmp_path: Path) -> None:
    """Their converter writes the copy, and their reader reads the same of it."""
    pytest.importorskip("webdataset")
    builder = pytest.importorskip("clip_benchmark.webdataset_builder")
    from clip_benchmark.datasets.builder import build_wds_dataset

    folder = tmp_path / "wds_vtab-dtd"
    builder.convert_dataset(SmallImages(), "test", str(folder), max_count=2, verbose=False)
    theirs = build_wds_dataset("dtd", np.asarray, "test", str(folder))
    ours = copies.resolve_dataset(datasets.get("dtd"), tmp_path).open(tmp_path, "test")
    assert ours.labels is not None
    pairs = list(theirs)
    assert [label for _, label in pairs] == ours.labels.tolist() == LABELS
    for i, (pixels, _) in enumerate(pairs):
        assert np.array_equal(pixels, np.asarray(ours.load_image(i)))
    assert theirs.classes == list(ours.classes)
    assert tuple(theirs.templates) == dataset_copies.TEMPLATES


def test_the_trees_of_shifts_need_no_copy(tmp_path: Path) -> None:
    shift_trees.imagenet_a(tmp_path)
    dataset = datasets.get("imagenet_a")
    assert copies.resolve_dataset(dataset, tmp_path) is dataset
