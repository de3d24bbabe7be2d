"""Every data set of every list: a small tree in its format, read and scored as known by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers import (
    composition_trees,
    datacomp_trees,
    dataset_trees,
    long_caption_trees,
    shift_trees,
    stub_models,
    winogavil_tree,
)
from uniclip import evaluate
from uniclip.config import RunConfig
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.datasets.readers import voc2007
from uniclip.evaluate.protocols.published import PROTOCOLS
from uniclip.evaluate.scoring import zero_shot

LISTS = datasets.list_benchmarks()
NAMES = tuple(dict.fromkeys(n for name in LISTS for n in datasets.read_benchmark(name)))
ALL_CLASSES = ("imagenet_v2", "imagenet_sketch")
"""Data sets whose trees have an image of each class of ImageNet."""
GREY = ("mnist", "fashion_mnist", "fer2013", "mnist_fewshot")
DATACOMP_CLASSES = ("zero", "one", "two", "three", "four")
DATACOMP_LABELS = (3, 0, 1, 4, 2, 0)
DATACOMP_TEMPLATES: tuple[str, ...] = ("a photo of {}.", "an image of {}.")


def write_datacomp_copy(root: Path, dataset: Dataset) -> None:
    """Write a copy with groups 0, 0, 0, 1, 1, 1."""
    folder = dataset.files["test"][1].split("/")[0]
    rows = [[i // 3, 0, label] for i, label in enumerate(DATACOMP_LABELS)]
    datacomp_trees.write_copy(root / folder, DATACOMP_CLASSES, DATACOMP_LABELS, rows)


def write_tree(root: Path, dataset: Dataset) -> None:
    """Write the files of a data set, or of the one whose images it has."""
    if dataset.source is not None:
        return write_tree(root, dataset.source)
    writers: dict[str, Callable[[Path], object]] = {
        **dataset_trees.WRITERS,
        **dataset_trees.MORE_WRITERS,
        **shift_trees.SHIFT_WRITERS,
        **composition_trees.COMPOSITION_WRITERS,
        **long_caption_trees.WRITERS,
        "winogavil": winogavil_tree.write_tree,
        "voc2007_boxes": dataset_trees.voc2007,
    }
    if dataset.name in writers:
        writers[dataset.name](root)
    else:
        write_datacomp_copy(root, dataset)


def select(kind: str) -> list[str]:
    return [name for name in NAMES if datasets.get(name).kind == kind]


def build_config(root: Path) -> RunConfig:
    config = stub_models.config({"name": "scenes"})
    return replace(config, runtime=replace(config.runtime, data_root=str(root)))


def make_model(config: RunConfig, name: str, class_of_colour: dict[int, int]) -> stub_models.Stub:
    """Return a model that names a class for the colour in the middle of an image.

    class_of_colour: number of a colour -> class. Classes beyond the first 255 are one to it.
    """
    images = open_test(config, name)
    names, templates = {key: (key,) for key in images.classes}, DATACOMP_TEMPLATES
    if not datasets.get(name).has_templates:
        rules = PROTOCOLS["clip2021"].for_dataset(name, images.classes)
        names, templates = dict(rules.class_names), rules.templates
    row_of_prompt = {
        zero_shot.fill_template(template, class_name): min(row, 255)
        for row, key in reversed(list(enumerate(images.classes)))
        for template in templates
        for class_name in names[key]
    }
    colours = [
        (dataset_trees.grey(i),) * 3 if name in GREY else dataset_trees.colour(i)
        for i in range(max(class_of_colour) + 1)
    ]

    def see(pixels: NDArray[np.uint8]) -> list[int]:
        middle = pixels[:, :, pixels.shape[2] // 2, pixels.shape[3] // 2].astype(int)
        found: list[int] = np.abs(middle[:, None] - np.array(colours)).sum(2).argmin(1).tolist()
        return found

    return stub_models.Stub(
        config,
        lambda pixels, vectors: np.eye(256)[[class_of_colour[c] for c in see(pixels)]],
        lambda texts: np.eye(256)[[row_of_prompt[text] for text in texts]],
        lambda pixels: np.eye(27)[see(pixels)],
    )


def open_test(config: RunConfig, name: str) -> ImageDataset:
    return datasets.get(name).open(config.runtime.data_root, "test")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in ALL_CLASSES else name
        for name in select("classification")
        if name != "voc2007_boxes"
    ],
)
def test_classification(name: str, tmp_path: Path) -> None:
    """The model takes the first class that occurs for the second one.

    Where several classes have one colour, it takes them all for the first of these.
    """
    write_tree(tmp_path, datasets.get(name))
    config = build_config(tmp_path)
    labels: list[int] = open_test(config, name).labels.tolist()  # type: ignore[union-attr]
    first, second = sorted(set(labels))[:2]
    class_of_colour = {label % 27: label for label in sorted(set(labels), reverse=True)}
    class_of_colour[first % 27] = second
    model = make_model(config, name, class_of_colour)
    scores, predictions = evaluate.evaluate(name, model, config)
    by_name = {s.name: s for s in scores}
    hits = [class_of_colour[label % 27] == label for label in labels]
    recalls = [np.mean([h for h, x in zip(hits, labels) if x == c]) for c in set(labels)]
    # Of six images the two of class 0 are taken for 1, which has 1 true and 2 false positives: its
    # F1 is 2 / 4, that of 0 is 0, and the other three have 1. Each group of three has one mistake.
    expected = {
        "accuracy": np.mean(hits),
        "mean_per_class": np.mean(recalls),
        "f1_macro": (0 + 2 / 4 + 3) / 5,
        "worst_group": 2 / 3,
        "worst_group_top5": 1,
    }[evaluate.build_protocol(name, config)["metric"]]
    assert by_name["zeroshot"].value == pytest.approx(expected)
    assert by_name["zeroshot"].num_samples == len(labels)
    assert predictions["labels"].tolist() == labels
    assert ("probe" in by_name) == ("train" in datasets.get(name).files)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The objects are dog, person, person; dog; train, train, diningtable; person.
        ("voc2007_boxes", 5 / 8),
        # Dog: the second image has a difficult one and does not count, so the first one is at the
        # top of three. Person: the fourth image is at the top, and the first ties with the other
        # two below, so precision is 1 up to a recall of one half, and one half beyond. Train: the
        # third image is at the top. A difficult table alone is no positive.
        ("voc2007", (1 + (6 + 5 / 2) / 11 + 1) / 3),
    ],
)
def test_objects_of_voc(name: str, expected: float, tmp_path: Path) -> None:
    """The model names a dog in the first two images, a train in the third, then a person."""
    write_tree(tmp_path, datasets.get(name))
    config = build_config(tmp_path)
    dog, train, person = (voc2007.CLASSES.index(c) for c in ("dog", "train", "person"))
    model = make_model(config, name, {0: dog, 1: dog, 2: train, 3: person})
    scores, _ = evaluate.evaluate(name, model, config)
    assert stub_models.values(scores)["zeroshot"] == pytest.approx(expected)


@pytest.mark.parametrize("name", select("few_shot"))
def test_few_shots(name: str, tmp_path: Path) -> None:
    """A model whose features tell the classes apart needs one image of each."""
    write_tree(tmp_path, datasets.get(name))
    config = build_config(tmp_path)
    source = datasets.get(name).source
    assert source is not None
    scores, _ = evaluate.evaluate(
        name, make_model(config, source.name, {c: c for c in range(27)}), config
    )
    names = [*(f"fewshot.{k}" for k in (1, 2, 4, 8, 16)), "knn"]
    assert stub_models.values(scores) == dict.fromkeys(names, 1.0)


@pytest.mark.parametrize("name", select("retrieval"))
def test_retrieval(name: str, tmp_path: Path) -> None:
    """The model takes the first two images for each other."""
    write_tree(tmp_path, datasets.get(name))
    config = build_config(tmp_path)
    images = open_test(config, name)
    row_of_caption = {c: row for row, captions in enumerate(images.captions) for c in captions}
    directions = np.eye(3)[[1, 0, 2]]

    def read(texts: list[str]) -> NDArray[np.float64]:
        template = "{}" if datasets.get(name).has_long_captions else "a photo of {}"
        prompts = {template.format(c): row for c, row in row_of_caption.items()}
        return np.eye(3)[[prompts[text] for text in texts]]

    num_seen: list[int] = []

    def embed(pixels: NDArray[np.uint8], vectors: object) -> NDArray[np.float64]:
        start = sum(num_seen)
        num_seen.append(len(pixels))
        return directions[np.arange(start, start + len(pixels)) % 3]

    scores, _ = evaluate.evaluate(name, stub_models.Stub(config, embed, read), config)
    values = stub_models.values(scores)
    num_captions = [len(set(captions)) for captions in images.captions]
    assert values["retrieval.i2t.r1"] == pytest.approx(1 / 3)
    assert values["retrieval.t2i.r1"] == pytest.approx(num_captions[2] / sum(num_captions))
    assert values["retrieval.t2i.r5"] == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Images of add_att and swap_obj have the same captions: each of the two that the model
        # knows is of one image alone.
        ("sugarcrepe", {"text": 11 / 14, "text[add_att]": 0, "text[swap_obj]": 1 / 2}),
        # Of the first pair both images have the wrong caption, and both captions the wrong image.
        ("winoground", {"text": 2 / 3, "image": 2 / 3, "group": 2 / 3, "text[Object]": 1 / 2}),
        ("aro_relation", {"text": 2 / 3, "text[to the left of]": 0, "text[holding]": 1}),
        ("aro_attribution", {"text": 1 / 2, "text[white_tall]": 0, "text[open_red]": 1}),
        ("coco_order", {"text": 0}),  # of which one caption has another order
        ("flickr30k_order", {"text": 0}),
    ],
)
def test_choices(name: str, expected: dict[str, float], tmp_path: Path) -> None:
    """The model prefers a wrong caption of the first image, and knows all others."""
    write_tree(tmp_path, datasets.get(name))
    config = build_config(tmp_path)
    images = open_test(config, name)
    size = len(images)
    pictures = range(size) if images.picture_rows is None else images.picture_rows.tolist()
    row_of_caption = {c: size for captions in images.captions for c in captions[1:]}
    row_of_caption |= {captions[0]: row for row, captions in zip(pictures, images.captions)}
    right, wrong = images.captions[0][:2]
    row_of_caption |= {right: size if images.pairs is None else 1, wrong: 0}
    model = stub_models.Stub(
        config,
        lambda pixels, vectors: np.eye(size + 1)[: len(pixels)],
        lambda texts: np.eye(size + 1)[[row_of_caption[text] for text in texts]],
    )
    scores, _ = evaluate.evaluate(name, model, config)
    values = stub_models.values(scores)
    assert {key: values[f"composition.{key}"] for key in expected} == pytest.approx(expected)


def test_every_kind_has_a_test() -> None:
    """Tests of the others: `scoring/test_association.py`, `scoring/test_fine_tuning.py`."""
    kinds = ("classification", "multilabel", "few_shot", "retrieval", "composition")
    elsewhere = ["winogavil", *select("fine_tuning")]
    assert sorted([*(n for kind in kinds for n in select(kind)), *elsewhere]) == sorted(NAMES)
    assert select("multilabel") == ["voc2007"]
    assert set(select("composition")) == {*datasets.read_benchmark("composition")}
