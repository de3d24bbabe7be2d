"""The fourteen data sets of `benchmark=bench14`: files, sizes, checksums, how to get them.

Counts are those of the papers and of CLIP (Radford et al. 2021), Table 9; checksums are
torchvision's. All paths are relative to one data root and as torchvision unpacks them.
"""

from __future__ import annotations

from typing import Any

from uniclip.data.split import SplitName
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.cifar import CifarReader
from uniclip.evaluate.datasets.readers.file_lists import (
    DtdReader,
    FgvcAircraftReader,
    Food101Reader,
    OxfordPetsReader,
    StanfordCarsReader,
)
from uniclip.evaluate.datasets.readers.flowers102 import Flowers102Reader
from uniclip.evaluate.datasets.readers.image_folders import (
    Caltech101Reader,
    FolderReader,
    ImagenetReader,
)
from uniclip.evaluate.datasets.readers.karpathy import CocoReader, Flickr30kReader
from uniclip.evaluate.datasets.readers.sun397 import Sun397AllReader, Sun397Reader
from uniclip.evaluate.datasets.readers.voc2007 import Voc2007Reader

SPLIT_NAMES: tuple[tuple[SplitName, str], ...] = (
    ("train", "train"),
    ("validation", "val"),
    ("test", "test"),
)
"""Splits, and their names in the files of most publishers."""
TRAIN_AND_TEST_ARGUMENTS: tuple[dict[str, Any], ...] = ({"train": True}, {"train": False})
FLOWERS, CIFAR10, CIFAR100 = "flowers-102/", "cifar-10-batches-py/", "cifar-100-python/"
AIRCRAFT, VOC, FLICKR = "fgvc-aircraft-2013b/data/", "VOCdevkit/VOC2007/", "flickr30k/"


def format_download_hint(name: str, suffix: str = "") -> str:
    """Say how to get a data set that torchvision can download."""
    return f"download it with python sweep.py data download {name} data_root=<folder>{suffix}"


def _sun397_pattern(name: str) -> str:
    return f"SUN397/{name}|SUN397/Partitions/{name}|Partitions/{name}"


CLASSIFICATION_DATASETS = (
    Dataset(
        name="food101",
        title="Food-101",
        files={
            split: (f"food-101/meta/{split}.json", "food-101/images") for split in ("train", "test")
        },
        reader=Food101Reader(),
        held_out=True,
        expected_counts={"train": 75_750, "test": 25_250},
        md5_sums={"food-101.tar.gz": "85eeb15f3717b99a5da872d97d918f87"},
        torchvision=("Food101", ({"split": "test"},)),
        download_hint=format_download_hint("food101"),
    ),
    Dataset(
        name="cifar10",
        title="CIFAR-10",
        files={
            "train": (*(f"{CIFAR10}data_batch_{i}" for i in range(1, 6)), f"{CIFAR10}batches.meta"),
            "test": (f"{CIFAR10}test_batch", f"{CIFAR10}batches.meta"),
        },
        reader=CifarReader(
            batches={
                "train": tuple(f"{CIFAR10}data_batch_{i}" for i in range(1, 6)),
                "test": (f"{CIFAR10}test_batch",),
            },
            metadata_file=f"{CIFAR10}batches.meta",
            names_key="label_names",
            labels_key="labels",
        ),
        held_out=True,
        expected_counts={"train": 50_000, "test": 10_000},
        md5_sums={
            f"{CIFAR10}data_batch_1": "c99cafc152244af753f735de768cd75f",
            f"{CIFAR10}data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            f"{CIFAR10}data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            f"{CIFAR10}data_batch_4": "634d18415352ddfa80567beed471001a",
            f"{CIFAR10}data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            f"{CIFAR10}test_batch": "40351d587109b95175f43aff81a1287e",
            f"{CIFAR10}batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
        torchvision=("CIFAR10", TRAIN_AND_TEST_ARGUMENTS),
        download_hint=format_download_hint("cifar10"),
    ),
    Dataset(
        name="cifar100",
        title="CIFAR-100",
        files={split: (f"{CIFAR100}{split}", f"{CIFAR100}meta") for split in ("train", "test")},
        reader=CifarReader(
            batches={"train": (f"{CIFAR100}train",), "test": (f"{CIFAR100}test",)},
            metadata_file=f"{CIFAR100}meta",
            names_key="fine_label_names",
            labels_key="fine_labels",
        ),
        held_out=True,
        expected_counts={"train": 50_000, "test": 10_000},
        md5_sums={
            f"{CIFAR100}train": "16019d7e3df5f24257cddd939b257f8d",
            f"{CIFAR100}test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            f"{CIFAR100}meta": "7973b15100ade9c7d40fb424638fde48",
        },
        torchvision=("CIFAR100", TRAIN_AND_TEST_ARGUMENTS),
        download_hint=format_download_hint("cifar100"),
    ),
    Dataset(
        name="sun397",
        title="SUN397",
        files={
            "train": (_sun397_pattern("Training_01.txt"), "SUN397/ClassName.txt"),
            "test": (_sun397_pattern("Testing_01.txt"), "SUN397/ClassName.txt"),
        },
        reader=Sun397Reader(),
        held_out=True,
        expected_counts={"train": 19_850, "test": 19_850},
        md5_sums={"SUN397.tar.gz": "8ca2778205c41d23104230ba66911c7a"},
        torchvision=("SUN397", ({},)),
        split_rule="first official partition",
        all_images=("SUN397", Sun397AllReader()),
        download_hint=format_download_hint(
            "sun397", "; then unpack Partitions.zip of the SUN397 page into SUN397/"
        ),
    ),
    Dataset(
        name="stanford_cars",
        title="Stanford Cars",
        files={
            "train": (
                "stanford_cars/devkit/cars_meta.mat",
                "stanford_cars/devkit/cars_train_annos.mat",
                "stanford_cars/cars_train",
            ),
            "test": (
                "stanford_cars/devkit/cars_meta.mat",
                "stanford_cars/cars_test_annos_withlabels.mat",
                "stanford_cars/cars_test",
            ),
        },
        reader=StanfordCarsReader(),
        held_out=True,
        expected_counts={"train": 8_144, "test": 8_041},
        download_hint="its page is gone: unpack a copy of cars_train.tgz, cars_test.tgz, "
        "car_devkit.tgz and cars_test_annos_withlabels.mat into stanford_cars/",
    ),
    Dataset(
        name="fgvc_aircraft",
        title="FGVC Aircraft",
        metric="mean_per_class",
        files={
            split: (
                f"{AIRCRAFT}variants.txt",
                f"{AIRCRAFT}images_variant_{publisher_name}.txt",
                f"{AIRCRAFT}images",
            )
            for split, publisher_name in SPLIT_NAMES
        },
        reader=FgvcAircraftReader(),
        expected_counts={"train": 3_334, "validation": 3_333, "test": 3_333},
        torchvision=("FGVCAircraft", ({"split": "test"},)),
        download_hint=format_download_hint("fgvc_aircraft"),
    ),
    Dataset(
        name="dtd",
        title="DTD",
        files={
            split: (f"dtd/dtd/labels/{publisher_name}1.txt", "dtd/dtd/images")
            for split, publisher_name in SPLIT_NAMES
        },
        reader=DtdReader(),
        expected_counts={"train": 1_880, "validation": 1_880, "test": 1_880},
        md5_sums={"dtd/dtd-r1.0.1.tar.gz": "fff73e5086ae6bdbea199a49dfb8a4c1"},
        torchvision=("DTD", ({"split": "test"},)),
        split_rule="first official partition",
        download_hint=format_download_hint("dtd"),
    ),
    Dataset(
        name="oxford_pets",
        title="Oxford-IIIT Pets",
        metric="mean_per_class",
        files={
            split: (
                "oxford-iiit-pet/annotations/trainval.txt",
                "oxford-iiit-pet/annotations/test.txt",
                "oxford-iiit-pet/images",
            )
            for split in ("train", "test")
        },
        reader=OxfordPetsReader(),
        held_out=True,
        expected_counts={"train": 3_680, "test": 3_669},
        md5_sums={
            "oxford-iiit-pet/images.tar.gz": "5c4f3ee8e5d25df40f4fd59a7f44e54c",
            "oxford-iiit-pet/annotations.tar.gz": "95a8c909bbe2e81eed6a22bccdf3f68f",
        },
        torchvision=("OxfordIIITPet", ({"split": "test"},)),
        download_hint=format_download_hint("oxford_pets"),
    ),
    Dataset(
        name="caltech101",
        title="Caltech-101",
        metric="mean_per_class",
        files={
            "train": ("caltech101/101_ObjectCategories",),
            "test": ("caltech101/101_ObjectCategories",),
        },
        reader=Caltech101Reader(),
        held_out=True,
        expected_counts={"train": 3_060, "test": 6_084},
        torchvision=("Caltech101", ({},)),
        split_rule="custom: 30 of each of 102 classes to train, by a hash of the name",
        all_images=("caltech101/101_ObjectCategories", FolderReader()),
        download_hint=format_download_hint("caltech101"),
    ),
    Dataset(
        name="flowers102",
        title="Oxford Flowers 102",
        metric="mean_per_class",
        files={
            split: (f"{FLOWERS}setid.mat", f"{FLOWERS}imagelabels.mat", f"{FLOWERS}jpg")
            for split in ("train", "validation", "test")
        },
        reader=Flowers102Reader(),
        expected_counts={"train": 1_020, "validation": 1_020, "test": 6_149},
        md5_sums={
            f"{FLOWERS}imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
            f"{FLOWERS}setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
            f"{FLOWERS}102flowers.tgz": "52808999861908f626f3c1f4e79d11fa",
        },
        torchvision=("Flowers102", ({"split": "test"},)),
        download_hint=format_download_hint("flowers102"),
    ),
    Dataset(
        name="imagenet",
        title="ImageNet-1k",
        files={"train": ("imagenet/train", "imagenet/val"), "test": ("imagenet/val",)},
        reader=ImagenetReader(),
        held_out=True,
        expected_counts={"train": 1_281_167, "test": 50_000},
        md5_sums={
            "imagenet/ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
            "imagenet/ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
            "imagenet/ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
        },
        download_hint="register at image-net.org, put the tars of ILSVRC2012 into imagenet/ "
        "and let torchvision.datasets.ImageNet unpack them: imagenet/{train,val}/<synset>/*.JPEG",
    ),
    Dataset(
        name="voc2007",
        title="PASCAL VOC 2007",
        kind="multilabel",
        metric="map11",
        files={
            split: (
                f"{VOC}ImageSets/Main/{publisher_name}.txt",
                f"{VOC}Annotations",
                f"{VOC}JPEGImages",
            )
            for split, publisher_name in SPLIT_NAMES
        },
        reader=Voc2007Reader(),
        expected_counts={"train": 2_501, "validation": 2_510, "test": 4_952},
        md5_sums={
            "VOCtrainval_06-Nov-2007.tar": "c52e279531787c972589f7e41ab4ae64",
            "VOCtest_06-Nov-2007.tar": "b6e924de25625d8de591ea690078ad9f",
        },
        torchvision=(
            "VOCDetection",
            tuple({"year": "2007", "image_set": s} for s in ("trainval", "test")),
        ),
        download_hint=format_download_hint("voc2007"),
    ),
)

RETRIEVAL_DATASETS = (
    Dataset(
        name="flickr30k",
        title="Flickr30k",
        kind="retrieval",
        metric="recall",
        files={
            split: (
                f"{FLICKR}flickr30k_{publisher_name}_karpathy.txt|{FLICKR}dataset_flickr30k.json",
                "flickr30k/*.jpg|flickr30k/flickr30k-images|flickr30k/Images|flickr30k/images",
            )
            for split, publisher_name in SPLIT_NAMES
        },
        reader=Flickr30kReader(),
        expected_counts={"train": 29_000, "validation": 1_014, "test": 1_000},
        split_rule="Karpathy",
        download_hint="ask for the images at shannon.cs.illinois.edu/DenotationGraph and put them "
        "into flickr30k/, with Karpathy's dataset_flickr30k.json",
    ),
    Dataset(
        name="coco",
        title="MS-COCO",
        kind="retrieval",
        metric="recall",
        files={
            split: (
                f"coco/coco_{publisher_name}_karpathy.json|coco/dataset_coco.json",
                f"coco/{folder}",
            )
            for (split, publisher_name), folder in zip(
                SPLIT_NAMES, ("train2014", "val2014", "val2014")
            )
        },
        reader=CocoReader(),
        expected_counts={"train": 113_287, "validation": 5_000, "test": 5_000},
        split_rule="Karpathy",
        download_hint="unpack val2014.zip (and train2014.zip) of cocodataset.org into coco/, "
        "with Karpathy's dataset_coco.json",
    ),
)
