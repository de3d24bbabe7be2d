"""Small valid trees of the data sets in their publishers' formats, and the ground truth.

`WRITERS[name](root)` writes the data set under `root` and returns the truth by split: rows in the
order in which they must be read. The colour of an image identifies its class (`colour`).
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

SPLITS = ("train", "validation", "test")
SIZES = {"train": 3, "validation": 2, "test": 2}
SIDE = 8


@dataclass
class Truth:
    """The truth of a written data set: (id, label) or (id, captions) of each split, in order."""

    classes: tuple[str, ...] = ()
    rows: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)


def colour(label: int) -> tuple[int, int, int]:
    """Return a colour far from those of the other first labels."""
    return (40 + 90 * (label % 3), 30 + 100 * (label // 3 % 3), 200 - 60 * (label // 9 % 3))


def label_of(image: Image.Image, labels: Iterable[int]) -> int:
    """Return the label whose colour an image has."""
    middle = np.asarray(image.convert("RGB"), np.int64)[image.height // 2, image.width // 2]
    return min(labels, key=lambda label: int(np.abs(middle - colour(label)).sum()))


def draw(path: Path, label: int, side: int = SIDE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side + 4, side), colour(label)).save(path)


def text(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


# ---- lists ---------------------------------------------------------------------------------------


def food101(root: Path) -> Truth:
    truth = Truth(("apple_pie", "baby_back_ribs", "ramen"))
    number = 1000
    for split in ("train", "test"):
        listed: dict[str, list[str]] = {}
        for label in (2, 0, 1):  # the published JSON is in no order that matters
            name = truth.classes[label]
            for _ in range(3):
                number += 1
                listed.setdefault(name, []).append(f"{name}/{number}")
                draw(root / f"food-101/images/{name}/{number}.jpg", label)
                truth.rows.setdefault(split, []).append((f"{name}/{number}", label))
        (root / "food-101/meta").mkdir(parents=True, exist_ok=True)
        (root / f"food-101/meta/{split}.json").write_text(json.dumps(listed))
    return truth


def stanford_cars(root: Path) -> Truth:
    truth = Truth(("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"))
    folder = root / "stanford_cars"
    (folder / "devkit").mkdir(parents=True)
    kinds = [(f"bbox_{c}", "O") for c in ("x1", "y1", "x2", "y2")] + [
        ("class", "O"),
        ("fname", "O"),
    ]
    names = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for split, name in names.items():
        labels = [2, 0, 1, 1, 0, 2]
        rows = np.zeros((1, len(labels)), kinds)
        for i, label in enumerate(labels):
            rows[0, i] = (1, 1, 9, 9, np.uint8(label + 1), f"{i + 1:05d}.jpg")
            draw(folder / f"cars_{split}/{i + 1:05d}.jpg", label)
            truth.rows.setdefault(split, []).append((f"cars_{split}/{i + 1:05d}", label))
        savemat(folder / name, {"annotations": rows})
    cells = np.empty((1, len(truth.classes)), object)
    cells[0] = truth.classes
    savemat(folder / "devkit/cars_meta.mat", {"class_names": cells})
    return truth


def fgvc_aircraft(root: Path) -> Truth:
    truth = Truth(("707-320", "F/A-18", "Gulfstream IV"))  # names hold slashes and spaces
    folder = root / "fgvc-aircraft-2013b/data"
    text(folder / "variants.txt", truth.classes)
    number = 34_000
    for split, publisher_name in (("train", "train"), ("validation", "val"), ("test", "test")):
        for label in (2, 1, 0) * SIZES[split]:
            number += 1
            draw(folder / f"images/{number:07d}.jpg", label)
            truth.rows.setdefault(split, []).append((f"{number:07d}", label))
        rows = [f"{name} {truth.classes[label]}" for name, label in truth.rows[split]]
        text(folder / f"images_variant_{publisher_name}.txt", rows)
    return truth


def dtd(root: Path) -> Truth:
    truth = Truth(("banded", "blotchy", "zigzagged"))
    for split, publisher_name in (("train", "train"), ("validation", "val"), ("test", "test")):
        for label, name in enumerate(truth.classes):
            for i in range(SIZES[split]):
                draw(root / f"dtd/dtd/images/{name}/{name}_{publisher_name}{i:04d}.jpg", label)
                truth.rows.setdefault(split, []).append(
                    (f"{name}/{name}_{publisher_name}{i:04d}", label)
                )
        for partition in (1, 2):
            rows = [f"{name}.jpg" for name, _ in truth.rows[split]][:: 3 - 2 * partition]
            text(root / f"dtd/dtd/labels/{publisher_name}{partition}.txt", rows)
    return truth


def oxford_pets(root: Path) -> Truth:
    truth = Truth(("Abyssinian", "american_bulldog", "yorkshire_terrier"))
    folder = root / "oxford-iiit-pet"
    number = 100
    for split, publisher_name in (("train", "trainval"), ("test", "test")):
        rows = []
        for label, name in enumerate(truth.classes):
            for _ in range(3):
                number += 1
                draw(folder / f"images/{name}_{number}.jpg", label)
                rows.append(f"{name}_{number} {label + 1} {1 if label == 0 else 2} 1")
                truth.rows.setdefault(split, []).append((f"{name}_{number}", label))
        text(folder / f"annotations/{publisher_name}.txt", rows)
    return truth


def sun397(root: Path) -> Truth:
    truth = Truth(("abbey", "apartment_building/outdoor", "zoo"))
    folders = ("/a/abbey", "/a/apartment_building/outdoor", "/z/zoo")
    text(root / "SUN397/ClassName.txt", folders)
    for split, publisher_name in (("train", "Training"), ("test", "Testing")):
        listed = []
        for label, path in enumerate(folders):
            for i in (2, 0, 1):
                draw(root / f"SUN397{path}/sun_{publisher_name[:4].lower()}{label}{i}.jpg", label)
                listed.append(f"{path}/sun_{publisher_name[:4].lower()}{label}{i}.jpg")
            draw(
                root / f"SUN397{path}/sun_unlisted{label}.jpg", label
            )  # in neither split of this partition
        text(root / f"SUN397/{publisher_name}_01.txt", listed)
        text(root / f"SUN397/{publisher_name}_02.txt", listed[:1])
        labels = dict(zip(folders, range(3)))
        truth.rows[split] = sorted((n[1:], labels[n.rsplit("/", 1)[0]]) for n in listed)
    return truth


# ---- pickles and MATLAB --------------------------------------------------------------------------


class Python2(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes pickles of Python 2: text and bytes are the same, numpy's modules have old names."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    def save_text(self, value: str) -> None:
        self.save_bytes(value.encode("latin1"))

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text


def pickled(path: Path, value: Any) -> None:
    """Write a pickle as the publishers did: protocol 2 of Python 2."""
    stream = io.BytesIO()
    Python2(stream, protocol=2, fix_imports=False).dump(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue().replace(b"cnumpy._core.", b"cnumpy.core."))


def planes(labels: Iterable[int], side: int = 32) -> np.ndarray:
    """Return (n, 3 * side * side) uint8 rows: all red, then all green, then all blue."""
    values = np.array([colour(label) for label in labels], np.uint8)
    return np.repeat(values, side * side, axis=1)


def cifar10(root: Path) -> Truth:
    truth = Truth(("airplane", "automobile", "bird"))
    folder = root / "cifar-10-batches-py"
    batches = [("train", f"data_batch_{i}") for i in range(1, 6)] + [("test", "test_batch")]
    for shift, (split, name) in enumerate(batches):
        labels = [(label + shift) % 3 for label in (2, 0, 1, 1)]
        value = {
            "batch_label": f"batch {shift}",
            "labels": labels,
            "data": planes(labels),
            "filenames": [
                f"{truth.classes[label]}_s_{i:06d}.png" for i, label in enumerate(labels)
            ],
        }
        pickled(folder / name, value)
        rows = [(f"{name}/{i}", label) for i, label in enumerate(labels)]
        truth.rows.setdefault(split, []).extend(rows)
    meta = {"num_cases_per_batch": 4, "label_names": list(truth.classes), "num_vis": 3072}
    pickled(folder / "batches.meta", meta)
    return truth


def cifar100(root: Path) -> Truth:
    truth = Truth(("apple", "aquarium_fish", "baby"))
    folder = root / "cifar-100-python"
    for split in ("train", "test"):
        labels = [2, 1, 0, 0, 1, 2]
        value = {
            "filenames": [f"{i}.png" for i in range(6)],
            "batch_label": split,
            "fine_labels": labels,
            "coarse_labels": [0, 1, 1, 1, 1, 0],
            "data": planes(labels),
        }
        pickled(folder / split, value)
        truth.rows[split] = [(f"{split}/{i}", label) for i, label in enumerate(labels)]
    coarse = ["fish", "people"]
    pickled(
        folder / "meta", {"fine_label_names": list(truth.classes), "coarse_label_names": coarse}
    )
    return truth


def flowers102(root: Path) -> Truth:
    truth = Truth(tuple(str(i) for i in range(1, 103)))
    folder = root / "flowers-102"
    labels = [77, 1, 102, 1, 77, 102, 102, 77, 1]
    numbers = {"trnid": [3, 8, 9], "valid": [7, 1], "tstid": [6, 5, 4, 2]}
    for i, label in enumerate(labels, 1):
        draw(folder / f"jpg/image_{i:05d}.jpg", label - 1)
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {k: np.array([v], np.uint16) for k, v in numbers.items()})
    for split, key in zip(SPLITS, numbers):
        truth.rows[split] = [(f"image_{i:05d}", labels[i - 1] - 1) for i in numbers[key]]
    return truth


# ---- folders -------------------------------------------------------------------------------------


def imagenet(root: Path) -> Truth:
    truth = Truth(("n01440764", "n01443537", "n03710721"))
    for split, publisher_name in (("train", "train"), ("test", "val")):
        for label, synset in enumerate(truth.classes):
            for i in range(3):
                stem = (
                    f"ILSVRC2012_val_{label}{i:07d}" if publisher_name == "val" else f"{synset}_{i}"
                )
                draw(root / f"imagenet/{publisher_name}/{synset}/{stem}.jpg", label)
                path = root / f"imagenet/{publisher_name}/{synset}/{stem}"
                path.with_suffix(".jpg").rename(path.with_suffix(".JPEG"))
                truth.rows.setdefault(split, []).append((f"{synset}/{stem}.JPEG", label))
    (root / "imagenet/val/devkit").mkdir()
    return truth


def caltech101(root: Path) -> Truth:
    """Write 33 images a class: 30 to train, 3 to test; `rows["all"]` has both."""
    truth = Truth(("BACKGROUND_Google", "Faces", "accordion"))
    folder = root / "caltech101/101_ObjectCategories"
    for label, name in enumerate(truth.classes):
        for i in range(1, 34):
            draw(folder / name / f"image_{i:04d}.jpg", label)
            truth.rows.setdefault("all", []).append((f"{name}/image_{i:04d}.jpg", label))
    (folder / "BACKGROUND_Google/tmp").write_bytes(b"")  # it is in the published archive
    return truth


# ---- VOC -----------------------------------------------------------------------------------------

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
VOC_OBJECTS = [
    {"dog": [0], "person": [0, 1]},
    {"dog": [1]},
    {"train": [0, 0], "diningtable": [1]},
    {"person": [0]},
]
"""The objects of each image of a split: 1 = difficult."""


def voc2007(root: Path) -> Truth:
    truth = Truth(VOC_CLASSES)
    folder = root / "VOCdevkit/VOC2007"
    for base, (split, publisher_name) in enumerate(
        (("train", "train"), ("validation", "val"), ("test", "test"))
    ):
        names = [f"{100 * base + i:06d}" for i in range(len(VOC_OBJECTS))]
        for i, name in enumerate(names):
            draw(folder / f"JPEGImages/{name}.jpg", i)
            annotation(folder / f"Annotations/{name}.xml", VOC_OBJECTS[i])
        text(folder / f"ImageSets/Main/{publisher_name}.txt", names)
        values_by_class = [
            {c: -1 if c not in o else int(0 in o[c]) for c in VOC_CLASSES} for o in VOC_OBJECTS
        ]
        for c in VOC_CLASSES:
            rows = [f"{name} {values[c]:2d}" for name, values in zip(names, values_by_class)]
            text(folder / f"ImageSets/Main/{c}_{publisher_name}.txt", rows)
        truth.rows[split] = [
            (n, [v[c] for c in VOC_CLASSES]) for n, v in zip(names, values_by_class)
        ]
    return truth


def annotation(path: Path, objects: dict[str, list[int]]) -> None:
    """Write the annotation of an image in VOC's XML."""
    elements = "".join(
        f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
        "<xmax>6</xmax><ymax>8</ymax></bndbox></object>"
        for name, flags in objects.items()
        for difficult in flags
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><folder>VOC2007</folder>{elements}</annotation>")


# ---- captions ------------------------------------------------------------------------------------

CAPTIONS = {
    "train": [("10", ["a red thing"])],
    "validation": [("11", ["a thing", "another"])],
    "test": [
        ("12", ["Two men, both in hats, talk.", 'A "quoted" word.', "a b.jpg, c"]),
        ("13", ["a dog", "a dog", "dogs"]),
        ("14", ["one"]),
    ],
}


def flickr30k(root: Path) -> Truth:
    truth = Truth()
    for split, publisher_name in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = [(f"{name}.jpg", tuple(captions)) for name, captions in CAPTIONS[split]]
        lines = [f"{name},{caption}" for name, captions in rows for caption in captions]
        text(root / f"flickr30k/flickr30k_{publisher_name}_karpathy.txt", ["image,caption", *lines])
        for i, (name, _) in enumerate(rows):
            draw(root / f"flickr30k/{name}", i)
        truth.rows[split] = rows
    return truth


def coco(root: Path) -> Truth:
    truth = Truth()
    for split, publisher_name in (("train", "train"), ("validation", "val"), ("test", "test")):
        folder = "train2014" if split == "train" else "val2014"
        files = [f"COCO_{folder}_{number:>012}.jpg" for number, _ in CAPTIONS[split]]
        rows = [(f"{folder}/{f}", tuple(c)) for f, (_, c) in zip(files, CAPTIONS[split])]
        images = [{"id": int(n), "file_name": f} for f, (n, _) in zip(files, CAPTIONS[split])]
        notes = [
            {"image_id": image["id"], "id": 7, "caption": caption}
            for image, (_, captions) in zip(images, rows)
            for caption in captions
        ]
        for i, (name, _) in enumerate(rows):
            draw(root / f"coco/{name}", i)
        record = {"images": images, "annotations": notes[::-1] if split == "train" else notes}
        (root / f"coco/coco_{publisher_name}_karpathy.json").write_text(json.dumps(record))
        truth.rows[split] = rows
    return truth


def karpathy(root: Path, name: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Replace the files of the splits by Karpathy's JSON; the images stay."""
    images, rows = [], {}
    for split, publisher_name in (("train", "restval"), ("validation", "val"), ("test", "test")):
        for number, captions in CAPTIONS[split]:
            folder = "train2014" if split == "train" else "val2014"
            file = f"COCO_{folder}_{number:>012}.jpg" if name == "coco" else f"{number}.jpg"
            path = {"filepath": folder} if name == "coco" else {}
            sentences = [{"raw": caption, "tokens": caption.split()} for caption in captions]
            images.append(
                {**path, "filename": file, "split": publisher_name, "sentences": sentences}
            )
            key = f"{folder}/{file}" if name == "coco" else file
            rows.setdefault(split, []).append((key, tuple(captions)))
    for path in [*(root / name).glob("*karpathy*")]:
        path.unlink()
    (root / name / f"dataset_{name}.json").write_text(json.dumps({"images": images}))
    return rows


# ---- more data sets ------------------------------------------------------------------------------


def class_folders(root: Path, classes: tuple[str, ...], splits: dict[str, str], end: str) -> Truth:
    """Write `<root>/<folder of the split>/<class>/<number>`; three images a class and split."""
    truth = Truth(classes)
    for split, publisher_name in splits.items():
        for label, name in enumerate(classes):
            for i in range(3):
                draw(root / publisher_name / name / f"{i}{end}", label)
                truth.rows.setdefault(split, []).append((f"{name}/{i}{end}", label))
    return truth


def country211(root: Path) -> Truth:
    splits = {"train": "train", "validation": "valid", "test": "test"}
    return class_folders(root / "country211", ("AD", "AE", "ZW"), splits, ".jpg")


def rendered_sst2(root: Path) -> Truth:
    splits = {"train": "train", "validation": "valid", "test": "test"}
    return class_folders(root / "rendered-sst2", ("negative", "positive"), splits, ".png")


def eurosat(root: Path) -> Truth:
    """Write nine images a class: three to test; `rows["all"]` has all."""
    truth = Truth(("AnnualCrop", "Forest", "SeaLake"))
    for label, name in enumerate(truth.classes):
        for i in range(1, 10):
            draw(root / f"eurosat/2750/{name}/{name}_{i}.jpg", label)
            truth.rows.setdefault("all", []).append((f"{name}/{name}_{i}.jpg", label))
    return truth


def idx(path: Path, values: np.ndarray, packed: bool) -> None:
    """Write an array in MNIST's format: magic number, shape, bytes."""
    head = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = head + values.astype(np.uint8).tobytes()
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(raw))
    else:
        path.write_bytes(raw)


def grey(label: int) -> int:
    return 20 + 20 * label


def mnist(root: Path, folder: str = "MNIST", packed: bool = False) -> Truth:
    """Write images of a uniform grey level, `grey(label)`."""
    truth = Truth(tuple("0123456789"))
    for split, publisher_name, labels in (
        ("train", "train", [7, 0, 9, 0, 7, 9]),
        ("test", "t10k", [9, 0, 7]),
    ):
        pixels = np.stack([np.full((28, 28), grey(label)) for label in labels])
        idx(root / folder / f"raw/{publisher_name}-images-idx3-ubyte", pixels, packed)
        idx(root / folder / f"raw/{publisher_name}-labels-idx1-ubyte", np.array(labels), packed)
        truth.rows[split] = [(f"{split}/{i}", label) for i, label in enumerate(labels)]
    return truth


def fashion_mnist(root: Path) -> Truth:
    truth = mnist(root, "FashionMNIST", packed=True)
    names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    truth.classes = tuple(names.split(","))
    return truth


def stl10(root: Path) -> Truth:
    """Write images whose left part is black: pixels are stored column by column."""
    truth = Truth(("airplane", "bird", "car"))
    folder = root / "stl10_binary"
    text(folder / "class_names.txt", truth.classes)
    for split, labels in (("train", [2, 0, 2, 0]), ("test", [1, 2, 0])):
        pixels = planes(labels, 96).reshape(len(labels), 3, 96, 96).copy()
        pixels[:, :, :, :30] = 0
        (folder / f"{split}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(label + 1 for label in labels))
        truth.rows[split] = [(f"{split}/{i}", label) for i, label in enumerate(labels)]
    return truth


def gtsrb(root: Path) -> Truth:
    truth = Truth(tuple(f"{i:05d}" for i in range(43)))
    folder = root / "gtsrb/GTSRB"
    for label in (1, 3, 42):  # folders are numbers, so one that is not there moves no label
        for i in range(2):
            draw(folder / f"Training/{label:05d}/{i:05d}.ppm", label)
            row = (f"Training/{label:05d}/{i:05d}.ppm", label)
            truth.rows.setdefault("train", []).append(row)
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i, label in enumerate((42, 3)):
        draw(folder / f"Final_Test/Images/{i:05d}.ppm", label)
        lines.append(f"{i:05d}.ppm;53;54;6;5;48;49;{label}")
        truth.rows.setdefault("test", []).append((f"{i:05d}.ppm", label))
    text(root / "gtsrb/GT-final_test.csv", lines)
    return truth


def fer2013(root: Path, icml: bool = False) -> Truth:
    """Write labels 4 (sad), 5 (surprise), 6 (neutral) and others; all pixels are `grey(label)`."""
    truth = Truth(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
    usages = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    head = ["emotion", " Usage", " pixels"] if icml else ["emotion", "pixels", "Usage"]
    lines = [",".join(head)]
    for split, labels in (("train", [6, 0, 5]), ("test", [4, 6]), ("validation", [1])):
        for i, label in enumerate(labels):
            pixels = " ".join([str(grey(label))] * 48 * 48)
            usage = usages[split]
            lines.append(f"{label},{usage},{pixels}" if icml else f"{label},{pixels},{usage}")
            truth.rows.setdefault(split, []).append((str(i), label))
    text(root / f"fer2013/{'icml_face_data' if icml else 'fer2013'}.csv", lines)
    return truth


def pcam(root: Path) -> Truth:
    import h5py

    truth = Truth(("0", "1"))
    (root / "pcam").mkdir(parents=True)
    for split, publisher_name in (("train", "train"), ("validation", "valid"), ("test", "test")):
        labels = [1, 0, 0, 1][: SIZES[split] + 1]
        stem = root / f"pcam/camelyonpatch_level_2_split_{publisher_name}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            pixels = planes(labels, 96).reshape(-1, 3, 96, 96).transpose(0, 2, 3, 1)
            file.create_dataset("x", data=pixels, chunks=(1, 96, 96, 3), compression="gzip")
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(labels, np.uint8).reshape(-1, 1, 1, 1)
        truth.rows[split] = [(f"{split}/{i}", label) for i, label in enumerate(labels)]
    return truth


WRITERS: dict[str, Callable[[Path], Truth]] = {
    writer.__name__: writer
    for writer in (
        *(food101, cifar10, cifar100, sun397, stanford_cars, fgvc_aircraft, dtd, oxford_pets),
        *(caltech101, flowers102, imagenet, voc2007, flickr30k, coco),
    )
}
"""Writers of the data sets of `bench14`, by name."""

MORE_WRITERS: dict[str, Callable[[Path], Truth]] = {
    writer.__name__: writer
    for writer in (
        *(country211, rendered_sst2, eurosat, mnist, fashion_mnist, stl10, gtsrb, fer2013, pcam),
    )
}


def write_shard(path: Path, members: dict[str, bytes]) -> None:
    """Write a folder of one WebDataset shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, packed in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(packed)
            archive.addfile(info, io.BytesIO(packed))
    (path.parent / "nshards.txt").write_text("1")


def encode_jpeg(label: int) -> bytes:
    """Return a small JPEG in the colour of a label."""
    stream = io.BytesIO()
    Image.new("RGB", (9, 9), colour(label)).save(stream, "JPEG")
    return stream.getvalue()
