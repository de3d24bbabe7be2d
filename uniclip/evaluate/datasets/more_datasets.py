"""Data sets besides those of `benchmark=bench14`: files, sizes, checksums, how to get them."""

from __future__ import annotations

from uniclip.data.split import SplitName
from uniclip.evaluate.datasets.bench14 import (
    SPLIT_NAMES,
    TRAIN_AND_TEST_ARGUMENTS,
    format_download_hint,
)
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.binary import (
    FASHION_MNIST_CLASSES,
    MNIST_CLASSES,
    IdxReader,
    PcamReader,
    Stl10Reader,
)
from uniclip.evaluate.datasets.readers.csv_labels import DigitsReader, Fer2013Reader, GtsrbReader
from uniclip.evaluate.datasets.readers.image_folders import (
    EurosatReader,
    FolderReader,
    SplitFolderReader,
)

PCAM, STL10, GTSRB = "pcam/camelyonpatch_level_2_split_", "stl10_binary/", "gtsrb/GTSRB/"
DEBIAN = "/usr/share/datasets/fashion-mnist/"
"""Folder of Debian's package dataset-fashion-mnist."""


def _idx_patterns(folder: str, *extra_folders: str) -> dict[SplitName, tuple[str, ...]]:
    """Return the idx files of MNIST's kind, as torchvision unpacks them or compressed."""

    def join_alternatives(name: str) -> str:
        paths = (
            f"{folder}/raw/{name}",
            f"{folder}/raw/{name}.gz",
            *(f"{extra_folder}{name}.gz" for extra_folder in extra_folders),
        )
        return "|".join(paths)

    names: tuple[tuple[SplitName, str], ...] = (("train", "train"), ("test", "t10k"))
    return {
        split: (
            join_alternatives(f"{file_prefix}-images-idx3-ubyte"),
            join_alternatives(f"{file_prefix}-labels-idx1-ubyte"),
        )
        for split, file_prefix in names
    }


def _valid_split_paths(path_templates: tuple[str, ...]) -> dict[SplitName, tuple[str, ...]]:
    """Return paths of the three splits where validation is called `valid`."""
    return {
        split: tuple(
            path.format("valid" if split == "validation" else split) for path in path_templates
        )
        for split, _ in SPLIT_NAMES
    }


MORE_DATASETS = (
    Dataset(
        name="eurosat",
        title="EuroSAT",
        files={"train": ("eurosat/2750",), "test": ("eurosat/2750",)},
        reader=EurosatReader(),
        held_out=True,
        expected_counts={"train": 10_000, "test": 5_000},
        md5_sums={"eurosat/EuroSAT.zip": "c8fa014336c82ac7804f0398fcb19387"},
        torchvision=("EuroSAT", ({},)),
        split_rule="custom: 1,000 and 500 of each class, by a hash of the name",
        all_images=("eurosat/2750", FolderReader()),
        download_hint=format_download_hint("eurosat"),
    ),
    Dataset(
        name="mnist",
        title="MNIST",
        files=_idx_patterns("MNIST"),
        reader=IdxReader(MNIST_CLASSES),
        held_out=True,
        expected_counts={"train": 60_000, "test": 10_000},
        md5_sums={
            "MNIST/raw/train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "MNIST/raw/train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "MNIST/raw/t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "MNIST/raw/t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        torchvision=("MNIST", TRAIN_AND_TEST_ARGUMENTS),
        download_hint=format_download_hint("mnist"),
    ),
    Dataset(
        name="fashion_mnist",
        title="Fashion-MNIST",
        files=_idx_patterns("FashionMNIST", DEBIAN),
        reader=IdxReader(FASHION_MNIST_CLASSES),
        held_out=True,
        expected_counts={"train": 60_000, "test": 10_000},
        md5_sums={
            "FashionMNIST/raw/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "FashionMNIST/raw/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "FashionMNIST/raw/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "FashionMNIST/raw/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        torchvision=("FashionMNIST", TRAIN_AND_TEST_ARGUMENTS),
        download_hint=format_download_hint(
            "fashion_mnist", ", or apt install dataset-fashion-mnist"
        ),
    ),
    Dataset(
        name="stl10",
        title="STL-10",
        files={
            "train": (f"{STL10}train_X.bin", f"{STL10}train_y.bin", f"{STL10}class_names.txt"),
            "test": (f"{STL10}test_X.bin", f"{STL10}test_y.bin", f"{STL10}class_names.txt"),
        },
        reader=Stl10Reader(),
        held_out=True,
        expected_counts={"train": 5_000, "test": 8_000},
        md5_sums={
            f"{STL10}train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            f"{STL10}train_y.bin": "5a34089d4802c674881badbb80307741",
            f"{STL10}test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            f"{STL10}test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        },
        torchvision=("STL10", ({"split": "test"},)),
        download_hint=format_download_hint("stl10"),
    ),
    Dataset(
        name="gtsrb",
        title="GTSRB",
        files={
            "train": (f"{GTSRB}Training",),
            "test": ("gtsrb/GT-final_test.csv", f"{GTSRB}Final_Test/Images"),
        },
        reader=GtsrbReader(),
        held_out=True,
        expected_counts={"train": 26_640, "test": 12_630},
        md5_sums={
            "gtsrb/GTSRB-Training_fixed.zip": "513f3c79a4c5141765e10e952eaa2478",
            "gtsrb/GTSRB_Final_Test_Images.zip": "c7e4e6327067d32654124b0fe9e82185",
            "gtsrb/GTSRB_Final_Test_GT.zip": "fe31e9c9270bbcd7b84b7f21a9d9d9e5",
        },
        torchvision=("GTSRB", ({"split": "train"}, {"split": "test"})),
        download_hint=format_download_hint("gtsrb"),
    ),
    Dataset(
        name="pcam",
        title="PatchCamelyon",
        files=_valid_split_paths((f"{PCAM}{{}}_y.h5", f"{PCAM}{{}}_x.h5")),
        reader=PcamReader(),
        expected_counts={"train": 262_144, "validation": 32_768, "test": 32_768},
        md5_sums={
            f"{PCAM}train_x.h5": "1571f514728f59376b705fc836ff4b63",
            f"{PCAM}train_y.h5": "35c2d7259d906cfc8143347bb8e05be7",
            f"{PCAM}valid_x.h5": "d5b63470df7cfa627aeec8b9dc0c066e",
            f"{PCAM}valid_y.h5": "2b85f58b927af9964a4c15b8f7e8f179",
            f"{PCAM}test_x.h5": "d8c2d60d490dbd479f8199bdfa0cf6ec",
            f"{PCAM}test_y.h5": "60a7035772fbdb7f34eb86d4420cf66a",
        },
        torchvision=("PCAM", ({"split": "train"}, {"split": "val"}, {"split": "test"})),
        required_module="h5py",
        download_hint=format_download_hint("pcam", " (pip install gdown first)"),
    ),
    Dataset(
        name="country211",
        title="Country211",
        files=_valid_split_paths(("country211/{}", "country211/test")),
        reader=SplitFolderReader("country211"),
        expected_counts={"train": 31_650, "validation": 10_550, "test": 21_100},
        md5_sums={"country211.tgz": "84988d7644798601126c29e9877aab6a"},
        torchvision=("Country211", ({"split": "test"},)),
        download_hint=format_download_hint("country211"),
    ),
    Dataset(
        name="fer2013",
        title="FER2013",
        files={
            split: ("fer2013/fer2013.csv|fer2013/icml_face_data.csv",)
            for split in ("train", "validation", "test")
        },
        reader=Fer2013Reader(),
        expected_counts={"train": 28_709, "validation": 3_589, "test": 3_589},
        md5_sums={
            "fer2013/fer2013.csv": "f8428a1edbd21e88f42c73edd2a14f95",
            "fer2013/icml_face_data.csv": "b114b9e04e6949e5fe8b6a98b3892b1d",
        },
        split_rule="Training, PublicTest, PrivateTest",
        download_hint="get fer2013.csv or icml_face_data.csv of Kaggle's "
        "challenges-in-representation-learning-facial-expression-recognition-challenge and put it "
        "into fer2013/",
    ),
    Dataset(
        name="rendered_sst2",
        title="Rendered SST2",
        files=_valid_split_paths(("rendered-sst2/{}", "rendered-sst2/test")),
        reader=SplitFolderReader("rendered-sst2"),
        expected_counts={"train": 6_920, "validation": 872, "test": 1_821},
        md5_sums={"rendered-sst2.tgz": "2384d08e9dcfa4bd55b324e610496ee5"},
        torchvision=("RenderedSST2", ({"split": "test"},)),
        download_hint=format_download_hint("rendered_sst2"),
    ),
    Dataset(
        name="digits",
        title="Digits",
        files={"train": (), "test": ()},
        reader=DigitsReader(),
        held_out=True,
        expected_counts={"train": 1_201, "test": 596},
        required_module="sklearn",
        split_rule="custom: a third of each class, by a hash of the row",
        download_hint="pip install scikit-learn, which holds it",
    ),
)
