"""Images with a correct caption and wrong ones: SugarCrepe, Winoground, ARO."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import FileReader, ImageDataset, ImageReader
from uniclip.store.json_io import read_json

if TYPE_CHECKING:
    from PIL import Image

    from uniclip.data.split import SplitName

SUGARCREPE_CATEGORIES = (
    *("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj"),
)
ORDERS = ("words", "within_trigrams", "trigrams")
"""How the words of a caption are shuffled: all, within each group of three, or the groups."""
MAX_ATTEMPTS = 20
"""Times that the words of a caption are shuffled until they are in another order."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CaptionChoice:
    """One image and the captions among which the correct one, the first, is to be found."""

    image_id: str
    path: Path
    captions: tuple[str, ...]
    category: str
    pair: int | None = None
    box: Box | None = None
    """Left, upper, right, lower: the part of the image that is shown; None: all of it."""


class SugarcrepeReader(SplitReader):
    """SugarCrepe (Hsieh et al. 2023): one file for each category, images of COCO's val2017."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        choices = [
            CaptionChoice(
                f"{category}/{key}",
                root / "coco/val2017" / item["filename"],
                (item["caption"], item["negative_caption"]),
                category,
            )
            for category in SUGARCREPE_CATEGORIES
            for key, item in read_json(root / f"sugarcrepe/{category}.json").items()
        ]
        return _build_dataset(dataset, split, choices)


class WinogroundReader(SplitReader):
    """Winoground (Thrush et al. 2022): pairs of images whose captions have the same words.

    Files and fields are those of `winoground.py`, the loading script of
    huggingface.co/datasets/facebook/winoground: `examples.jsonl`, and `images/<image_0>.png`.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "winoground"
        choices = []
        text = (folder / "examples.jsonl").read_text(encoding="utf-8")
        for pair, line in enumerate(filter(str.strip, text.splitlines())):
            item = json.loads(line)
            captions = (item["caption_0"], item["caption_1"])
            choices += [
                CaptionChoice(
                    f"{item['id']}/{i}",
                    folder / f"images/{item[f'image_{i}']}.png",
                    (captions[i], captions[1 - i]),
                    item["collapsed_tag"],
                    pair,
                )
                for i in (0, 1)
            ]
        return _build_dataset(dataset, split, choices)


@dataclass(frozen=True)
class AroReader(SplitReader):
    """Visual Genome Relation and Attribution of ARO (Yuksekgonul et al. 2023).

    The image is cut to the box that contains both objects, as in the authors' code.
    """

    file_name: str
    category_key: str
    """Field of an item that says its category: text, or a list of words."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        choices = []
        for i, item in enumerate(read_json(root / "aro" / self.file_name)):
            x, y, width, height = (item[f"bbox_{key}"] for key in "xywh")
            category = item[self.category_key]
            choices.append(
                CaptionChoice(
                    str(i),
                    root / "aro/images" / item["image_path"],
                    (item["true_caption"], item["false_caption"]),
                    category if isinstance(category, str) else "_".join(category),
                    box=(x, y, x + width, y + height),
                )
            )
        return _build_dataset(dataset, split, choices)


@dataclass(frozen=True)
class CaptionOrderReader(SplitReader):
    """The captions of a retrieval set, and the same with their words in another order.

    As the orders of ARO (Yuksekgonul et al. 2023), by rule alone: the authors also shuffle nouns
    and adjectives, which a tagger finds. So these scores are not comparable with published ones. A
    caption is left out if one of its orders is its own.
    """

    reader: SplitReader
    """Reader of the retrieval set."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        retrieval = replace(dataset, kind="retrieval", metric="recall")
        original = self.reader.read(retrieval, root, split)
        rows, captions = [], []
        for row, image_captions in enumerate(original.captions):
            for number, caption in enumerate(image_captions):
                orders = [
                    shuffle_caption(caption, order, f"{original.ids[row]} {number}")
                    for order in ORDERS
                ]
                if None not in orders:
                    rows.append((row, number))
                    captions.append((caption, *filter(None, orders)))
        return _pack(
            dataset,
            split,
            ids=[f"{original.ids[row]}#{number}" for row, number in rows],
            reader=_RepeatedReader(original.reader, tuple(row for row, _ in rows)),
            captions=captions,
            categories=["all"] * len(rows),
            picture_rows=[row for row, _ in rows],
        )


def shuffle_caption(caption: str, order: str, key: str) -> str | None:
    """Return a caption with its words in another order; None if no such order was found.

    Args:
        caption: Words separated by spaces.
        order: One of `ORDERS`.
        key: What the order is drawn from, beside `order`: equal keys give equal orders.
    """
    words = caption.split()
    groups = [words[i : i + 3] for i in range(0, len(words), 3)]
    for attempt in range(MAX_ATTEMPTS):
        shuffle = partial(_shuffle, key=f"{key} {order} {attempt}")
        if order == "words":
            shuffled = shuffle(words)
        elif order == "within_trigrams":
            shuffled = [w for i, g in enumerate(groups) for w in shuffle(g, part=i)]
        else:
            shuffled = [w for g in shuffle(groups) for w in g]
        if shuffled != words:
            return " ".join(shuffled)
    return None


def _shuffle(items: Sequence[Any], key: str, part: int = 0) -> list[Any]:
    """Return the items in an order that depends on the key alone."""
    from uniclip import rng  # here: it imports numpy

    return [
        items[i]
        for i in sorted(
            range(len(items)), key=lambda i: rng.hash_sample_id(f"caption order {key} {part} {i}")
        )
    ]


@dataclass(frozen=True)
class BoxReader(FileReader):
    """Images of which only a part is shown."""

    boxes: tuple[Box | None, ...] = ()

    def __call__(self, i: int) -> Image.Image:
        """Return the part of image `i` that is shown."""
        image, box = super().__call__(i), self.boxes[i]
        return image if box is None else image.crop(box)

    @property
    def whole(self) -> FileReader:
        """The reader of the images with all their parts."""
        return FileReader(self.paths)


@dataclass(frozen=True)
class _RepeatedReader:
    """Images of another reader, some of them several times."""

    reader: ImageReader
    rows: tuple[int, ...]

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        return self.reader(self.rows[i])


def _build_dataset(
    dataset: Dataset, split: SplitName, choices: Sequence[CaptionChoice]
) -> ImageDataset:
    if not choices:
        raise UserError(f"{dataset.name} lists no {split} images; {dataset.download_hint}")
    return _pack(
        dataset,
        split,
        ids=[choice.image_id for choice in choices],
        reader=BoxReader(
            tuple(choice.path for choice in choices), tuple(choice.box for choice in choices)
        ),
        captions=[choice.captions for choice in choices],
        categories=[choice.category for choice in choices],
        pairs=[c.pair for c in choices] if choices[0].pair is not None else None,
        picture_rows=_number_equal([(c.path, c.box) for c in choices]),
        photograph_rows=_number_equal([c.path for c in choices])
        if any(c.box is not None for c in choices)
        else None,
    )


def _number_equal(values: Sequence[Hashable]) -> list[int] | None:
    """Return the number of each value, by first appearance; None if all are different."""
    numbers: dict[Hashable, int] = {}
    rows = [numbers.setdefault(value, len(numbers)) for value in values]
    return rows if len(numbers) < len(values) else None


def _pack(
    dataset: Dataset,
    split: SplitName,
    *,
    ids: Sequence[str],
    reader: ImageReader,
    captions: Sequence[tuple[str, ...]],
    categories: Sequence[str],
    pairs: Sequence[int | None] | None = None,
    picture_rows: Sequence[int] | None = None,
    photograph_rows: Sequence[int] | None = None,
) -> ImageDataset:
    import numpy as np

    classes = tuple(sorted(set(categories)))
    label_of_category = {category: label for label, category in enumerate(classes)}
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(ids),
        reader=reader,
        labels=np.array([label_of_category[c] for c in categories], np.int64),
        classes=classes,
        captions=tuple(captions),
        pairs=None if pairs is None else np.array(pairs, np.int64),
        picture_rows=None if picture_rows is None else np.array(picture_rows, np.int64),
        photograph_rows=None if photograph_rows is None else np.array(photograph_rows, np.int64),
    )
