"""Copies of data sets in WebDataset shards, as CLIP_benchmark and DataComp publish them.

    wds_<key>/{classnames.txt, zeroshot_classification_templates.txt, dataset_type.txt}
    wds_<key>/{train,test}/{nshards.txt, 0.tar, 1.tar, ...}

CLIP_benchmark's are `https://huggingface.co/datasets/clip-benchmark/wds_<key>`, and its
`benchmark/webdatasets.txt` lists the keys; DataComp's are `.../djghosh/wds_<key>_test`, and its
`tasklist.yml` lists keys and numbers of images. A copy stands in for the publisher's files where
those of the test split are missing. It is scored with its own class names and templates, as either
library does. In copies of ImageNet and its shifts, label i is the i-th class in the order of
WordNet ids, as in CLIP_benchmark's `datasets/builder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.evaluate.datasets import composition, few_shot, fine_tuning
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.datacomp import DatacompReader, list_files
from uniclip.evaluate.datasets.readers.imagenet_shifts import list_imagenet_classes

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

HUB = "https://huggingface.co/datasets/clip-benchmark"
SPLIT_RULE = "copy in WebDataset shards"
COPY_KEYS: Mapping[str, tuple[str, ...]] = {
    "caltech101": ("vtab-caltech101",),
    "cifar10": ("vtab-cifar10", "cifar10"),
    "cifar100": ("vtab-cifar100",),
    "clevr_counts": ("vtab-clevr_count_all",),
    "clevr_distance": ("vtab-clevr_closest_object_distance",),
    "coco": ("mscoco_captions",),
    "country211": ("country211",),
    "dtd": ("vtab-dtd",),
    "eurosat": ("vtab-eurosat",),
    "fer2013": ("fer2013",),
    "fgvc_aircraft": ("fgvc_aircraft",),
    "flickr30k": ("flickr30k",),
    "flowers102": ("vtab-flowers",),
    "food101": ("food101",),
    "gtsrb": ("gtsrb",),
    "imagenet": ("imagenet1k",),
    "imagenet_a": ("imagenet-a",),
    "imagenet_o": ("imagenet-o",),
    "imagenet_r": ("imagenet-r",),
    "imagenet_sketch": ("imagenet_sketch",),
    "imagenet_v2": ("imagenetv2",),
    "kitti_distance": ("vtab-kitti_closest_vehicle_distance",),
    "mnist": ("mnist",),
    "objectnet": ("objectnet",),
    "oxford_pets": ("vtab-pets",),
    "pcam": ("vtab-pcam",),
    "rendered_sst2": ("renderedsst2",),
    "resisc45": ("vtab-resisc45",),
    "stanford_cars": ("cars",),
    "stl10": ("stl10",),
    "sun397": ("sun397",),
    "svhn": ("vtab-svhn",),
    "voc2007": ("voc2007_multilabel",),
    "voc2007_boxes": ("voc2007",),
}
"""Data set -> keys of its copies, CLIP_benchmark's first."""
IMAGENET_SUBSETS: Mapping[str, str | None] = {
    "imagenet": None,
    "imagenet_a": "imagenet_a",
    "imagenet_o": "imagenet_o",
    "imagenet_r": "imagenet_r",
    "imagenet_sketch": None,
    "imagenet_v2": None,
}
"""Data set whose classes are ImageNet's -> name of the list of them; None: all."""
OTHER_COUNTS = {"caltech101": None, "eurosat": 5_400, "fer2013": None, "sun397": 108_754}
"""Number of test images where it is not that of the publisher's split; None: not confirmed."""


def resolve_dataset(dataset: Dataset, root: str | Path) -> Dataset:
    """Return the data set, or the copy of it that is under `root` where its own files are not.

    A data set that has the images of another one (few shots, fine-tuning, order of words) follows
    that.
    """
    if dataset.source is not None:
        source = resolve_dataset(dataset.source, root)
        return dataset if source is dataset.source else _rebuild(dataset, source)
    if dataset.name not in COPY_KEYS or dataset.describe_missing(root, ("test",)) is None:
        return dataset
    folder = next((f for f in list_copy_folders(dataset.name) if _has_split(root, f, "test")), None)
    return dataset if folder is None else build_copy(dataset, root, folder)


def list_copy_folders(name: str) -> list[str]:
    """Return the folders that a copy of a data set may have, the preferred one first."""
    return [
        folder for key in COPY_KEYS.get(name, ()) for folder in (f"wds_{key}", f"wds_{key}_test")
    ]


def build_copy(dataset: Dataset, root: str | Path, folder: str) -> Dataset:
    """Describe the copy of a data set in a folder under `root`.

    It has training images if the data set has some, or if the copy does; those of other kinds than
    classification are not read.
    """
    has_classes = dataset.kind != "retrieval"
    splits: list[SplitName] = ["test"]
    is_probed = "train" in dataset.files or _has_split(root, folder, "train")
    if dataset.kind == "classification" and is_probed:
        splits.append("train")
    test_count = OTHER_COUNTS.get(dataset.name, dataset.expected_counts.get("test"))
    subset = IMAGENET_SUBSETS.get(dataset.name, "")
    key = COPY_KEYS[dataset.name][0]
    return replace(
        dataset,
        files={split: list_files(folder, split, has_classes) for split in splits},
        reader=DatacompReader(
            folder, class_keys=() if subset == "" else list_imagenet_classes(subset)
        ),
        held_out="train" in splits,
        expected_counts={} if test_count is None else {"test": test_count},
        md5_sums={},
        torchvision=None,
        required_module=None,
        split_rule=SPLIT_RULE,
        has_templates=has_classes,
        all_images=None,
        copy_folder=folder,
        download_hint=f"download {HUB}/wds_{key} into wds_{key}/",
    )


def _rebuild(dataset: Dataset, source: Dataset) -> Dataset:
    """Return a data set that has the images of `source`, for the copy of that."""
    if dataset.kind == "composition":
        return composition.build_order_dataset(source)
    if "train" not in source.files:
        return dataset
    if dataset.kind == "fine_tuning":
        return fine_tuning.build_fine_tuning_dataset(source)
    return few_shot.build_few_shot_dataset(source)


def _has_split(root: str | Path, folder: str, split: str) -> bool:
    return (Path(root) / folder / split / "nshards.txt").is_file()
