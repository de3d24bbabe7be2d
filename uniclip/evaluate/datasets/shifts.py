"""The data sets of `benchmark=shifts`: ImageNet's classes in other images.

Sizes are those of the papers. The layouts are those of the published archives, and were compared
with the readers of CLIP_benchmark 1.6 and of WiSE-FT.
"""

from __future__ import annotations

from uniclip.evaluate.datasets.bench14 import CLASSIFICATION_DATASETS
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.imagenet_shifts import (
    ImagenetV2Reader,
    ObjectnetReader,
    SynsetFolderReader,
)

(IMAGENET,) = (d for d in CLASSIFICATION_DATASETS if d.name == "imagenet")
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
V2 = "imagenetv2-matched-frequency-format-val"
OBJECTNET = "objectnet-1.0"

SHIFT_DATASETS = (
    Dataset(
        name="imagenet_v2",
        title="ImageNet-v2",
        files={"test": (V2,)},
        reader=ImagenetV2Reader(V2),
        expected_counts={"test": 10_000},
        class_names_from="imagenet",
        templates_from="imagenet",
        split_rule="matched frequency",
        reference=IMAGENET,
        download_hint="get imagenetv2-matched-frequency.tar.gz of "
        "https://huggingface.co/datasets/vaishaal/ImageNetV2 and unpack it in the data root",
    ),
    Dataset(
        name="imagenet_a",
        title="ImageNet-A",
        files={"test": ("imagenet-a",)},
        reader=SynsetFolderReader("imagenet-a", "imagenet_a"),
        expected_counts={"test": 7_500},
        class_names_from="imagenet",
        templates_from="imagenet",
        split_rule="200 classes",
        reference=IMAGENET,
        download_hint=f"unpack {BERKELEY}/imagenet-a.tar in the data root",
    ),
    Dataset(
        name="imagenet_r",
        title="ImageNet-R",
        files={"test": ("imagenet-r",)},
        reader=SynsetFolderReader("imagenet-r", "imagenet_r"),
        expected_counts={"test": 30_000},
        class_names_from="imagenet",
        templates_from="imagenet",
        split_rule="200 classes",
        reference=IMAGENET,
        download_hint=f"unpack {BERKELEY}/imagenet-r.tar in the data root",
    ),
    Dataset(
        name="imagenet_sketch",
        title="ImageNet-Sketch",
        files={"test": ("sketch",)},
        reader=SynsetFolderReader("sketch"),
        expected_counts={"test": 50_889},
        class_names_from="imagenet",
        templates_from="imagenet",
        reference=IMAGENET,
        download_hint="get ImageNet-Sketch.zip by the links of "
        "https://github.com/HaohanWang/ImageNet-Sketch and unpack it in the data root: sketch/",
    ),
    Dataset(
        name="imagenet_o",
        title="ImageNet-O",
        files={"test": ("imagenet-o",)},
        reader=SynsetFolderReader("imagenet-o", "imagenet_o"),
        expected_counts={"test": 2_000},
        class_names_from="imagenet",
        templates_from="imagenet",
        split_rule="200 classes; accuracy at the class that a ResNet-50 sees, as CLIP_benchmark",
        reference=IMAGENET,
        download_hint=f"unpack {BERKELEY}/imagenet-o.tar in the data root",
    ),
    Dataset(
        name="objectnet",
        title="ObjectNet",
        files={"test": (f"{OBJECTNET}/mappings", f"{OBJECTNET}/images")},
        reader=ObjectnetReader(OBJECTNET),
        expected_counts={"test": 18_574},
        templates_from="imagenet",
        split_rule="the 113 classes of ImageNet, borders of 2 pixels cut off",
        download_hint="get objectnet-1.0.zip of https://objectnet.dev (its password is on that "
        "page) and unpack it in the data root",
    ),
)
