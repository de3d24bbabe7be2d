"""Small valid trees of the data sets, in their publishers' formats, and what is true of them.

`WRITERS[name](root)` writes the set under `root` and returns the truth by part: rows in the order
in which they are to be read. A picture's colour tells its class (`colour`).
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

PARTS = ("train", "validation", "test")
SIZES = {"train": 3, "validation": 2, "test": 2}
SIDE = 8


@dataclass
class Truth:
    """What a written set says: (id, label) of each part, in order, or its (id, captions)."""

    classes: tuple[str, ...] = ()
    rows: dict[str, list[tuple[str, Any]]] = field(default_factory=dict)


def colour(label: int) -> tuple[int, int, int]:
    """Far from the colour of any other of the first labels."""
    return (40 + 90 * (label % 3), 30 + 100 * (label // 3 % 3), 200 - 60 * (label // 9 % 3))


def label_of(image: Image.Image, labels: Iterable[int]) -> int:
    """Which label's colour a picture has."""
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
    for part in ("train", "test"):
        listed: dict[str, list[str]] = {}
        for label in (2, 0, 1):  # the published JSON is in no order that matters
            name = truth.classes[label]
            for _ in range(3):
                number += 1
                listed.setdefault(name, []).append(f"{name}/{number}")
                draw(root / f"food-101/images/{name}/{number}.jpg", label)
                truth.rows.setdefault(part, []).append((f"{name}/{number}", label))
        (root / "food-101/meta").mkdir(parents=True, exist_ok=True)
        (root / f"food-101/meta/{part}.json").write_text(json.dumps(listed))
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
    for part, name in names.items():
        labels = [2, 0, 1, 1, 0, 2]
        rows = np.zeros((1, len(labels)), kinds)
        for i, label in enumerate(labels):
            rows[0, i] = (1, 1, 9, 9, np.uint8(label + 1), f"{i + 1:05d}.jpg")
            draw(folder / f"cars_{part}/{i + 1:05d}.jpg", label)
            truth.rows.setdefault(part, []).append((f"cars_{part}/{i + 1:05d}", label))
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
    for part, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        for label in (2, 1, 0) * SIZES[part]:
            number += 1
            draw(folder / f"images/{number:07d}.jpg", label)
            truth.rows.setdefault(part, []).append((f"{number:07d}", label))
        rows = [f"{name} {truth.classes[label]}" for name, label in truth.rows[part]]
        text(folder / f"images_variant_{own}.txt", rows)
    return truth


def dtd(root: Path) -> Truth:
    truth = Truth(("banded", "blotchy", "zigzagged"))
    for part, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        for label, name in enumerate(truth.classes):
            for i in range(SIZES[part]):
                draw(root / f"dtd/dtd/images/{name}/{name}_{own}{i:04d}.jpg", label)
                truth.rows.setdefault(part, []).append((f"{name}/{name}_{own}{i:04d}", label))
        for partition in (1, 2):
            rows = [f"{name}.jpg" for name, _ in truth.rows[part]][:: 3 - 2 * partition]
            text(root / f"dtd/dtd/labels/{own}{partition}.txt", rows)
    return truth


def oxford_pets(root: Path) -> Truth:
    truth = Truth(("Abyssinian", "american_bulldog", "yorkshire_terrier"))
    folder = root / "oxford-iiit-pet"
    number = 100
    for part, own in (("train", "trainval"), ("test", "test")):
        rows = []
        for label, name in enumerate(truth.classes):
            for _ in range(3):
                number += 1
                draw(folder / f"images/{name}_{number}.jpg", label)
                rows.append(f"{name}_{number} {label + 1} {1 if label == 0 else 2} 1")
                truth.rows.setdefault(part, []).append((f"{name}_{number}", label))
        text(folder / f"annotations/{own}.txt", rows)
    return truth


def sun397(root: Path) -> Truth:
    truth = Truth(("abbey", "apartment_building/outdoor", "zoo"))
    folders = ("/a/abbey", "/a/apartment_building/outdoor", "/z/zoo")
    text(root / "SUN397/ClassName.txt", folders)
    for part, own in (("train", "Training"), ("test", "Testing")):
        listed = []
        for label, place in enumerate(folders):
            for i in (2, 0, 1):
                draw(root / f"SUN397{place}/sun_{own[:4].lower()}{label}{i}.jpg", label)
                listed.append(f"{place}/sun_{own[:4].lower()}{label}{i}.jpg")
            draw(
                root / f"SUN397{place}/sun_unlisted{label}.jpg", label
            )  # in no part of this partition
        text(root / f"SUN397/{own}_01.txt", listed)
        text(root / f"SUN397/{own}_02.txt", listed[:1])
        labels = dict(zip(folders, range(3)))
        truth.rows[part] = sorted((n[1:], labels[n.rsplit("/", 1)[0]]) for n in listed)
    return truth


# ---- pickles and MATLAB --------------------------------------------------------------------------


class Python2(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes what Python 2 wrote: text and bytes are one, and numpy's modules have old names."""

    dispatch = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    def save_text(self, value: str) -> None:
        self.save_bytes(value.encode("latin1"))

    dispatch[bytes] = save_bytes
    dispatch[str] = save_text


def pickled(path: Path, value: Any) -> None:
    """As the publishers' own files: protocol 2 of Python 2."""
    stream = io.BytesIO()
    Python2(stream, protocol=2, fix_imports=False).dump(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue().replace(b"cnumpy._core.", b"cnumpy.core."))


def planes(labels: Iterable[int], side: int = 32) -> np.ndarray:
    """(n, 3 * side * side) uint8 rows: all red, then all green, then all blue."""
    values = np.array([colour(label) for label in labels], np.uint8)
    return np.repeat(values, side * side, axis=1)


def cifar10(root: Path) -> Truth:
    truth = Truth(("airplane", "automobile", "bird"))
    folder = root / "cifar-10-batches-py"
    batches = [("train", f"data_batch_{i}") for i in range(1, 6)] + [("test", "test_batch")]
    for shift, (part, name) in enumerate(batches):
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
        truth.rows.setdefault(part, []).extend(rows)
    meta = {"num_cases_per_batch": 4, "label_names": list(truth.classes), "num_vis": 3072}
    pickled(folder / "batches.meta", meta)
    return truth


def cifar100(root: Path) -> Truth:
    truth = Truth(("apple", "aquarium_fish", "baby"))
    folder = root / "cifar-100-python"
    for part in ("train", "test"):
        labels = [2, 1, 0, 0, 1, 2]
        value = {
            "filenames": [f"{i}.png" for i in range(6)],
            "batch_label": part,
            "fine_labels": labels,
            "coarse_labels": [0, 1, 1, 1, 1, 0],
            "data": planes(labels),
        }
        pickled(folder / part, value)
        truth.rows[part] = [(f"{part}/{i}", label) for i, label in enumerate(labels)]
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
    for part, key in zip(PARTS, numbers):
        truth.rows[part] = [(f"image_{i:05d}", labels[i - 1] - 1) for i in numbers[key]]
    return truth


# ---- folders -------------------------------------------------------------------------------------


def imagenet(root: Path) -> Truth:
    truth = Truth(("n01440764", "n01443537", "n03710721"))
    for part, own in (("train", "train"), ("test", "val")):
        for label, synset in enumerate(truth.classes):
            for i in range(3):
                stem = f"ILSVRC2012_val_{label}{i:07d}" if own == "val" else f"{synset}_{i}"
                draw(root / f"imagenet/{own}/{synset}/{stem}.jpg", label)
                place = root / f"imagenet/{own}/{synset}/{stem}"
                place.with_suffix(".jpg").rename(place.with_suffix(".JPEG"))
                truth.rows.setdefault(part, []).append((f"{synset}/{stem}.JPEG", label))
    (root / "imagenet/val/devkit").mkdir()
    return truth


def caltech101(root: Path) -> Truth:
    """33 pictures a class: 30 to train, 3 to test; `rows["all"]` has both."""
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
"""Of each picture of a part, its objects: 1 = difficult."""


def voc2007(root: Path) -> Truth:
    truth = Truth(VOC_CLASSES)
    folder = root / "VOCdevkit/VOC2007"
    for base, (part, own) in enumerate(
        (("train", "train"), ("validation", "val"), ("test", "test"))
    ):
        names = [f"{100 * base + i:06d}" for i in range(len(VOC_OBJECTS))]
        for i, name in enumerate(names):
            draw(folder / f"JPEGImages/{name}.jpg", i)
            annotation(folder / f"Annotations/{name}.xml", VOC_OBJECTS[i])
        text(folder / f"ImageSets/Main/{own}.txt", names)
        said = [{c: -1 if c not in o else int(0 in o[c]) for c in VOC_CLASSES} for o in VOC_OBJECTS]
        for c in VOC_CLASSES:
            rows = [f"{name} {values[c]:2d}" for name, values in zip(names, said)]
            text(folder / f"ImageSets/Main/{c}_{own}.txt", rows)
        truth.rows[part] = [(n, [v[c] for c in VOC_CLASSES]) for n, v in zip(names, said)]
    return truth


def annotation(path: Path, objects: dict[str, list[int]]) -> None:
    """The XML of a picture, as VOC has it."""
    things = "".join(
        f"<object><name>{name}</name><pose>Left</pose><truncated>0</truncated>"
        f"<difficult>{difficult}</difficult><bndbox><xmin>1</xmin></bndbox></object>"
        for name, all_ in objects.items()
        for difficult in all_
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><folder>VOC2007</folder>{things}</annotation>")


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
    for part, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = [(f"{name}.jpg", tuple(captions)) for name, captions in CAPTIONS[part]]
        lines = [f"{name},{caption}" for name, captions in rows for caption in captions]
        text(root / f"flickr30k/flickr30k_{own}_karpathy.txt", ["image,caption", *lines])
        for i, (name, _) in enumerate(rows):
            draw(root / f"flickr30k/{name}", i)
        truth.rows[part] = rows
    return truth


def coco(root: Path) -> Truth:
    truth = Truth()
    for part, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        folder = "train2014" if part == "train" else "val2014"
        files = [f"COCO_{folder}_{number:>012}.jpg" for number, _ in CAPTIONS[part]]
        rows = [(f"{folder}/{f}", tuple(c)) for f, (_, c) in zip(files, CAPTIONS[part])]
        images = [{"id": int(n), "file_name": f} for f, (n, _) in zip(files, CAPTIONS[part])]
        notes = [
            {"image_id": image["id"], "id": 7, "caption": caption}
            for image, (_, captions) in zip(images, rows)
            for caption in captions
        ]
        for i, (name, _) in enumerate(rows):
            draw(root / f"coco/{name}", i)
        record = {"images": images, "annotations": notes[::-1] if part == "train" else notes}
        (root / f"coco/coco_{own}_karpathy.json").write_text(json.dumps(record))
        truth.rows[part] = rows
    return truth


def karpathy(root: Path, name: str) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Karpathy's own JSON in place of the parts' files (the pictures stay as they are)."""
    images, rows = [], {}
    for part, own in (("train", "restval"), ("validation", "val"), ("test", "test")):
        for number, captions in CAPTIONS[part]:
            folder = "train2014" if part == "train" else "val2014"
            file = f"COCO_{folder}_{number:>012}.jpg" if name == "coco" else f"{number}.jpg"
            place = {"filepath": folder} if name == "coco" else {}
            sentences = [{"raw": caption, "tokens": caption.split()} for caption in captions]
            images.append({**place, "filename": file, "split": own, "sentences": sentences})
            key = f"{folder}/{file}" if name == "coco" else file
            rows.setdefault(part, []).append((key, tuple(captions)))
    for path in [*(root / name).glob("*karpathy*")]:
        path.unlink()
    (root / name / f"dataset_{name}.json").write_text(json.dumps({"images": images}))
    return rows


# ---- further sets --------------------------------------------------------------------------------


def class_folders(root: Path, classes: tuple[str, ...], parts: dict[str, str], end: str) -> Truth:
    """`<root>/<folder of the part>/<class>/<number>`; three pictures a class and part."""
    truth = Truth(classes)
    for part, own in parts.items():
        for label, name in enumerate(classes):
            for i in range(3):
                draw(root / own / name / f"{i}{end}", label)
                truth.rows.setdefault(part, []).append((f"{name}/{i}{end}", label))
    return truth


def country211(root: Path) -> Truth:
    parts = {"train": "train", "validation": "valid", "test": "test"}
    return class_folders(root / "country211", ("AD", "AE", "ZW"), parts, ".jpg")


def rendered_sst2(root: Path) -> Truth:
    parts = {"train": "train", "validation": "valid", "test": "test"}
    return class_folders(root / "rendered-sst2", ("negative", "positive"), parts, ".png")


def eurosat(root: Path) -> Truth:
    """Nine pictures a class: three to test; `rows["all"]` has all."""
    truth = Truth(("AnnualCrop", "Forest", "SeaLake"))
    for label, name in enumerate(truth.classes):
        for i in range(1, 10):
            draw(root / f"eurosat/2750/{name}/{name}_{i}.jpg", label)
            truth.rows.setdefault("all", []).append((f"{name}/{name}_{i}.jpg", label))
    return truth


def idx(path: Path, values: np.ndarray, packed: bool) -> None:
    """MNIST's format: magic, shape, bytes."""
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
    """Grey pictures: `grey(label)` all over."""
    truth = Truth(tuple("0123456789"))
    for part, own, labels in (("train", "train", [7, 0, 9, 0, 7, 9]), ("test", "t10k", [9, 0, 7])):
        pixels = np.stack([np.full((28, 28), grey(label)) for label in labels])
        idx(root / folder / f"raw/{own}-images-idx3-ubyte", pixels, packed)
        idx(root / folder / f"raw/{own}-labels-idx1-ubyte", np.array(labels), packed)
        truth.rows[part] = [(f"{part}/{i}", label) for i, label in enumerate(labels)]
    return truth


def fashion_mnist(root: Path) -> Truth:
    truth = mnist(root, "FashionMNIST", packed=True)
    names = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    truth.classes = tuple(names.split(","))
    return truth


def stl10(root: Path) -> Truth:
    """Left halves are black: pixels go down each column first."""
    truth = Truth(("airplane", "bird", "car"))
    folder = root / "stl10_binary"
    text(folder / "class_names.txt", truth.classes)
    for part, labels in (("train", [2, 0, 2, 0]), ("test", [1, 2, 0])):
        pixels = planes(labels, 96).reshape(len(labels), 3, 96, 96).copy()
        pixels[:, :, :, :30] = 0
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
        truth.rows[part] = [(f"{part}/{i}", label) for i, label in enumerate(labels)]
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
    """Label 4 is sad, 5 surprise, 6 neutral; all pixels are `grey(label)`."""
    truth = Truth(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
    usages = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    head = ["emotion", " Usage", " pixels"] if icml else ["emotion", "pixels", "Usage"]
    lines = [",".join(head)]
    for part, labels in (("train", [6, 0, 5]), ("test", [4, 6]), ("validation", [1])):
        for i, label in enumerate(labels):
            pixels = " ".join([str(grey(label))] * 48 * 48)
            usage = usages[part]
            lines.append(f"{label},{usage},{pixels}" if icml else f"{label},{pixels},{usage}")
            truth.rows.setdefault(part, []).append((str(i), label))
    text(root / f"fer2013/{'icml_face_data' if icml else 'fer2013'}.csv", lines)
    return truth


def pcam(root: Path) -> Truth:
    import h5py

    truth = Truth(("0", "1"))
    (root / "pcam").mkdir(parents=True)
    for part, own in (("train", "train"), ("validation", "valid"), ("test", "test")):
        labels = [1, 0, 0, 1][: SIZES[part] + 1]
        stem = root / f"pcam/camelyonpatch_level_2_split_{own}"
        with h5py.File(f"{stem}_x.h5", "w") as file:
            pixels = planes(labels, 96).reshape(-1, 3, 96, 96).transpose(0, 2, 3, 1)
            file.create_dataset("x", data=pixels, chunks=(1, 96, 96, 3), compression="gzip")
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = np.array(labels, np.uint8).reshape(-1, 1, 1, 1)
        truth.rows[part] = [(f"{part}/{i}", label) for i, label in enumerate(labels)]
    return truth


WRITERS: dict[str, Callable[[Path], Truth]] = {
    writer.__name__: writer
    for writer in (
        *(food101, cifar10, cifar100, sun397, stanford_cars, fgvc_aircraft, dtd, oxford_pets),
        *(caltech101, flowers102, imagenet, voc2007, flickr30k, coco),
    )
}
"""The fourteen of `bench14`."""

FURTHER: dict[str, Callable[[Path], Truth]] = {
    writer.__name__: writer
    for writer in (
        *(country211, rendered_sst2, eurosat, mnist, fashion_mnist, stl10, gtsrb, fer2013, pcam),
    )
}
