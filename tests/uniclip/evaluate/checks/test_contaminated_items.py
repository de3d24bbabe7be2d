"""Items of every kind of score are found by the images that they show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import composition_trees, dataset_trees, stub_models, winogavil_tree
from tests.uniclip.evaluate.scoring.test_dataset_splits import build_config
from uniclip import data, evaluate
from uniclip.config import CsvData
from uniclip.evaluate import datasets
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.checks.contaminated_items import (
    count_photographs,
    find_contaminated_items,
)

VERDICTS = np.array([1, 0, -1, 0, 1, 0], np.int8)
ARRAYS = {
    "ids": np.arange(6),
    "near_duplicate": VERDICTS,
    "photographs": np.array([0, 1, 2, 2, 0, 3]),
    "pairs": np.array([2, 0, 0, 1, 1, 2]),
    "retrieval.t2i.image": np.array([0, 0, 5, 4]),
    "labels.kind": np.array([3, -1, 2, 2, -1, 0]),
}


@pytest.mark.parametrize(
    ("score", "num_items", "expected"),
    [
        ("retrieval.i2t.r1", 6, [True, False, False, False, True, False]),
        ("retrieval.t2i.r1", 4, [True, True, False, True]),
        ("one_each.t2i.r1", 6, [True, False, False, False, True, False]),
        ("one_each.t2i.r1", 3, None),
        ("zeroshot.kind", 4, [True, False, False, False]),
        ("composition.text", 3, [False, True, True]),
        ("zeroshot", 5, None),
    ],
)
def test_items_by_hand(score: str, num_items: int, expected: list[bool] | None) -> None:
    flags = find_contaminated_items(score, num_items, ARRAYS)
    assert (None if flags is None else flags.tolist()) == expected


def test_without_a_search_nothing_is_known() -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name != "near_duplicate"}
    assert find_contaminated_items("zeroshot", 6, arrays) is None


def test_images_of_one_photograph_count_once() -> None:
    counts = [count_photographs(verdict, ARRAYS) for verdict in (1, -1, None)]
    assert counts == [1, 1, 4]


def draw_photo(number: int, size: tuple[int, int] = (96, 96)) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def write_training_images(folder: Path, num_images: int = 20) -> tuple[dict[str, Any], list[int]]:
    """Write a table of photographs; return the data section, and which are for training."""
    folder.mkdir()
    lines = ["image,caption"]
    for number in range(num_images):
        draw_photo(number).save(folder / f"{number}.png")
        lines.append(f"{number}.png,photograph {number}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    section = {"path": str(folder / "table.csv"), "image_column": "image", "image_size": 64}
    names = data.open_split(CsvData(**section), "train").sample_names
    return {"name": "csv", **section}, [int(Path(name).stem) for name in names]


def find_items(root: Path, section: dict[str, Any], name: str, score: str) -> np.ndarray:
    """Return the contaminated items of a score of a stub model on a data set."""
    config = build_config(root / "sets", section)
    _, arrays = evaluate.evaluate(name, stub_models.ColourModel(config), config, root / "cache")
    verdicts = evaluate.find_near_duplicates(name, config, root / "cache")
    assert verdicts is not None
    assert len(verdicts) == len(arrays["ids"])
    flags = find_contaminated_items(
        score, len(arrays[score]), {**arrays, "near_duplicate": verdicts}
    )
    assert flags is not None
    return flags


def test_pairs_cues_and_choices_of_a_copied_picture(tmp_path: Path) -> None:
    section, photos = write_training_images(tmp_path / "train")
    sets = tmp_path / "sets"
    composition_trees.sugarcrepe(sets)
    composition_trees.winoground(sets)
    winogavil_tree.write_tree(sets)
    draw_photo(photos[2]).save(sets / f"coco/val2017/{3:012d}.png")
    draw_photo(photos[3]).save(sets / "winoground/images/ex_1_img_0.png")
    candidate = min((sets / "winogavil/images").iterdir())
    draw_photo(photos[4]).save(candidate)
    assert find_items(tmp_path, section, "sugarcrepe", "composition.text").nonzero()[
        0
    ].tolist() == [6, 7]
    assert find_items(tmp_path, section, "winoground", "composition.text").tolist() == [
        False,
        True,
        False,
    ]
    opened = datasets.get("winogavil").open(sets, "test")
    has_candidate = [
        any(
            i.endswith(f"/{candidate.stem}")
            for i, item in zip(opened.ids, opened.pairs)
            if item == cue
        )
        for cue in np.unique(opened.pairs)
    ]
    assert any(has_candidate)
    found = find_items(tmp_path, section, "winogavil", "association.jaccard")
    assert found.tolist() == has_candidate


def test_boxes_are_compared_as_whole_photographs_and_are_one_cluster(tmp_path: Path) -> None:
    section, photos = write_training_images(tmp_path / "train")
    sets = tmp_path / "sets"
    composition_trees.aro_relation(sets)
    items = composition_trees.read_json(sets / "aro/visual_genome_relation.json")
    items[1] |= {"image_path": items[0]["image_path"], "bbox_x": 1}  # another box of one photograph
    composition_trees.write_json(sets / "aro/visual_genome_relation.json", items)
    draw_photo(photos[1]).save(sets / "aro/images" / items[0]["image_path"])
    opened = datasets.get("aro_relation").open(sets, "test")
    assert opened.picture_rows is None, "three boxes"
    assert opened.cluster_rows is not None
    assert opened.cluster_rows.tolist() == [0, 0, 1]
    assert opened.load_image(0).size == (10, 12)
    assert opened.load_photograph(0).size == (96, 96)
    assert find_items(tmp_path, section, "aro_relation", "composition.text").tolist() == [
        True,
        True,
        False,
    ]
    config = build_config(sets, section)
    _, arrays = evaluate.evaluate("aro_relation", stub_models.ColourModel(config), config)
    assert arrays["family"].tolist() == [0, 0, 1]
    verdicts = evaluate.find_near_duplicates("aro_relation", config, tmp_path / "cache")
    assert count_photographs(near_duplicates.DUPLICATE, {**arrays, "near_duplicate": verdicts}) == 1


def test_captions_in_another_order_are_those_of_the_copied_picture(tmp_path: Path) -> None:
    section, photos = write_training_images(tmp_path / "train")
    truth = dataset_trees.WRITERS["flickr30k"](tmp_path / "sets")
    opened = datasets.get("flickr30k_order").open(tmp_path / "sets", "test")
    assert opened.picture_rows is not None
    copied_row = opened.picture_rows[0]
    name, captions = truth.rows["test"][copied_row]
    (path,) = (tmp_path / "sets").rglob(name)
    draw_photo(photos[3]).save(path)
    found = find_items(tmp_path, section, "flickr30k_order", "composition.text")
    assert found.tolist() == (opened.picture_rows == copied_row).tolist()
    by_caption = find_items(tmp_path, section, "flickr30k", "retrieval.t2i.r1")
    assert 0 < by_caption.sum() < len(by_caption)
    by_image = find_items(tmp_path, section, "flickr30k", "retrieval.i2t.r1")
    assert np.flatnonzero(by_image).tolist() == [copied_row]
    assert by_caption.sum() == len(captions)


def test_a_source_that_is_tested_on_all_images_is_searched_as_it_is_shown(tmp_path: Path) -> None:
    section, photos = write_training_images(tmp_path / "train")
    dataset_trees.eurosat(tmp_path / "sets")
    opened = datasets.get("eurosat").open(tmp_path / "sets", "test")
    copied = opened.ids[1]
    (path,) = (tmp_path / "sets").rglob(Path(copied).name + "*")
    draw_photo(photos[3]).save(path, quality=95)
    config = build_config(tmp_path / "sets", section)
    config = replace(config, runtime=replace(config.runtime, protocol="laion_cb"))
    for name in ("eurosat_fewshot", "eurosat_finetune"):
        verdicts = evaluate.find_near_duplicates(name, config, tmp_path / "cache")
        assert verdicts is not None
        assert (verdicts == near_duplicates.DUPLICATE).tolist() == [i == copied for i in opened.ids]
    verdicts = evaluate.find_near_duplicates("eurosat", config, tmp_path / "cache")
    assert verdicts is not None
    assert len(verdicts) > len(opened)
