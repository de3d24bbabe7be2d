"""Evaluation data sets: the catalogue, what is missing, and how each is opened.

    datasets.get("dtd").describe_missing(data_root)    None, or what to do
    datasets.get("dtd").open(data_root, "test")        `ImageDataset`

A name is one of the catalogue, or user-defined data: `folder:<path>` (one folder for each class),
`csv:<path>` (images and captions), `wds:<path>` (WebDataset shards). Neither numpy, Pillow nor
torch is imported until a data set is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from uniclip.config import compose
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate.datasets import (
    bench14,
    composition,
    custom,
    datacomp,
    few_shot,
    fine_tuning,
    long_captions,
    more_datasets,
    same_images,
    shifts,
)
from uniclip.evaluate.datasets.dataset import (
    Dataset,
    fingerprint_cache,
    fresh_fingerprint_cache,
)

__all__ = [
    "ALIASES",
    "DATASETS",
    "Dataset",
    "read_benchmark",
    "list_benchmarks",
    "list_stored_datasets",
    "get",
    "fingerprint_cache",
    "fresh_fingerprint_cache",
]

CONF = Path(__file__).parents[2] / "conf"

_LABELLED_DATASETS = (*bench14.CLASSIFICATION_DATASETS, *more_datasets.MORE_DATASETS)

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        *bench14.CLASSIFICATION_DATASETS,
        *bench14.RETRIEVAL_DATASETS,
        *more_datasets.MORE_DATASETS,
        *shifts.SHIFT_DATASETS,
        *composition.COMPOSITION_DATASETS,
        *datacomp.DATACOMP_DATASETS,
        *long_captions.LONG_CAPTION_DATASETS,
        *few_shot.build_few_shot_datasets(_LABELLED_DATASETS),
        *fine_tuning.build_fine_tuning_datasets(_LABELLED_DATASETS),
    )
}
"""Every published data set of the catalogue, by name."""

LISTS_WITH_OWN_MEAN = ("shifts", "composition", "fewshot", "finetune", "long")
"""Lists of data sets of which tables have a mean of their own, mixed with no other data sets."""

ALIASES = {
    "aircraft": "fgvc_aircraft",
    "cars": "stanford_cars",
    "clevr_closest_object_distance": "clevr_distance",
    "clevr_count_all": "clevr_counts",
    "flickr_1k_test_image_text_retrieval": "flickr30k",
    "flowers": "flowers102",
    "imagenet-a": "imagenet_a",
    "imagenet-o": "imagenet_o",
    "imagenet-r": "imagenet_r",
    "imagenet1k": "imagenet",
    "imagenetv2": "imagenet_v2",
    "kitti_closest_vehicle_distance": "kitti_distance",
    "mscoco": "coco",
    "mscoco_2014_5k_test_image_text_retrieval": "coco",
    "mscoco_captions": "coco",
    "pets": "oxford_pets",
    "renderedsst2": "rendered_sst2",
    "sugar_crepe": "sugarcrepe",
    "voc2007_multilabel": "voc2007",
}
"""Names that other libraries use."""


def get(name: str) -> Dataset:
    """Return the data set of that name or alias, or a user-defined one such as `folder:<path>`.

    Raises `UserError` with the nearest names for an unknown one.
    """
    kind, colon, path = name.partition(":")
    if colon and kind in custom.CUSTOM_KINDS:
        return custom.CUSTOM_KINDS[kind](path)
    canonical_name = ALIASES.get(name, name)
    if canonical_name not in DATASETS:
        raise make_unknown_name_error(
            "data set", name, [*DATASETS, *ALIASES, *(f"{k}:<path>" for k in custom.CUSTOM_KINDS)]
        )
    return DATASETS[canonical_name]


def list_stored_datasets() -> list[Dataset]:
    """Return the catalogue without the data sets that have the files of others."""
    return [d for d in DATASETS.values() if d.kind not in same_images.SAME_IMAGES_KINDS]


def is_fine_tuning(name: str) -> bool:
    """Return whether a benchmark trains the model, which takes hours."""
    return name in DATASETS and DATASETS[name].kind == "fine_tuning"


def get_mean_list(name: str) -> str:
    """Return the list of `LISTS_WITH_OWN_MEAN` that has a data set; empty for all others."""
    lists = (n for n in LISTS_WITH_OWN_MEAN if name in _read_shipped_list(n))
    return next(lists, "")


@cache
def _read_shipped_list(name: str) -> frozenset[str]:
    return frozenset(read_benchmark(name))


def list_benchmarks(folders: Sequence[Path] = (CONF,)) -> tuple[str, ...]:
    """Return the names of the lists in the `benchmark` subfolders, sorted."""
    return tuple(sorted({path.stem for f in folders for path in (f / "benchmark").glob("*.yaml")}))


def read_benchmark(
    name: str, folders: Sequence[Path] = (CONF,), extra_names: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the data sets of the list `benchmark/<name>.yaml`, in its order.

    extra_names: other names that the list may contain. Raises `UserError` if there is no such list,
    or if it is not a list of data sets.
    """
    path = next((p for f in folders if (p := f / "benchmark" / f"{name}.yaml").is_file()), None)
    if path is None:
        raise make_unknown_name_error("benchmark", name, list_benchmarks(folders))
    names = _read_list(path)
    dataset_names = tuple(n if ":" in n or n in extra_names else get(n).name for n in names)
    if len(set(dataset_names)) < len(dataset_names):
        raise UserError(f"{path} names a data set twice: {', '.join(names)}")
    return dataset_names


def _read_list(path: Path) -> list[str]:
    names = compose.load_yaml(path)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(f'{path} is not a YAML list of data sets: write "- dtd" and so on')
    return names
