"""The data sets of DataComp's 38 that are in no other list, read from DataComp's own copies.

Keys, sizes and main metrics are those of DataComp's `tasklist.yml`; names and templates are those
of the copies. WinoGAViL is read as its authors publish it, and the objects of PASCAL VOC 2007 are
cut out of its images. None has training images, so there is no linear probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uniclip.evaluate.datasets.bench14 import CLASSIFICATION_DATASETS
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.datacomp import DatacompReader, list_files
from uniclip.evaluate.datasets.readers.voc2007 import Voc2007BoxesReader
from uniclip.evaluate.datasets.readers.winogavil import WinogavilReader

if TYPE_CHECKING:
    from uniclip.evaluate.metrics import Metric

(VOC2007,) = (d for d in CLASSIFICATION_DATASETS if d.name == "voc2007")
SOURCE = "https://huggingface.co/datasets/djghosh"
REGION_OTHER = 5
"""FMoW's region "Other", which WILDS leaves out of the worst region."""


def _build_dataset(
    name: str,
    title: str,
    key: str,
    size: int,
    metric: Metric = "accuracy",
    group_column: int | None = None,
    groups_left_out: tuple[int, ...] = (),
) -> Dataset:
    folder = f"wds_{key}_test"
    return Dataset(
        name=name,
        title=title,
        metric=metric,
        files={"test": list_files(folder)},
        reader=DatacompReader(folder, group_column, groups_left_out),
        expected_counts={"test": size},
        split_rule="DataComp's copy",
        has_templates=True,
        download_hint=f"download {SOURCE}/{folder} into {folder}/, as download_evalsets.py of "
        "https://github.com/mlfoundations/datacomp does",
    )


DATACOMP_DATASETS = (
    _build_dataset("svhn", "SVHN", "vtab-svhn", 26_032),
    _build_dataset("resisc45", "RESISC45", "vtab-resisc45", 6_300),
    _build_dataset("clevr_counts", "CLEVR Counts", "vtab-clevr_count_all", 15_000),
    _build_dataset(
        "clevr_distance", "CLEVR Distance", "vtab-clevr_closest_object_distance", 15_000
    ),
    _build_dataset(
        "kitti_distance", "KITTI Vehicle Distance", "vtab-kitti_closest_vehicle_distance", 711
    ),
    _build_dataset("iwildcam", "iWildCam", "wilds-iwildcam", 42_791, "f1_macro"),
    _build_dataset("camelyon17", "Camelyon17", "wilds-camelyon17", 85_054),
    _build_dataset(
        *("fmow", "FMoW", "wilds-fmow", 22_108, "worst_group"),
        group_column=0,
        groups_left_out=(REGION_OTHER,),
    ),
    _build_dataset(
        *("dollar_street", "Dollar Street", "dollar_street", 3_503, "worst_group_top5"),
        group_column=0,
    ),
    _build_dataset("geode", "GeoDE", "geode", 12_488, "worst_group", group_column=0),
    Dataset(
        name="voc2007_boxes",
        title="PASCAL VOC 2007, objects",
        files={"test": VOC2007.files["test"]},
        reader=Voc2007BoxesReader(),
        expected_counts={"test": 14_976},
        class_names_from="voc2007",
        templates_from="voc2007",
        torchvision=VOC2007.torchvision,
        split_rule="one image for each object, as CLIP_benchmark and DataComp",
        download_hint=VOC2007.download_hint,
    ),
    Dataset(
        name="winogavil",
        title="WinoGAViL",
        kind="association",
        metric="jaccard",
        files={"test": ("winogavil/winogavil_dataset.csv", "winogavil/images")},
        reader=WinogavilReader(),
        expected_counts={"test": 24_330},
        download_hint="get assets/winogavil_dataset.csv of "
        "https://github.com/WinoGAViL/WinoGAViL-experiments into winogavil/, and the images by its "
        "download-images.py into winogavil/images/",
    ),
)
