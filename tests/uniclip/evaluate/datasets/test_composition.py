"""The list `benchmark=composition`: published sizes, and orders of the words of a retrieval set."""

from __future__ import annotations

from dataclasses import replace

from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.composition import COMPOSITION_DATASETS, build_order_dataset


def test_sizes_are_the_published_ones() -> None:
    """Those of Winoground are 400 pairs of images."""
    sizes = {d.name: d.expected_counts.get("test") for d in COMPOSITION_DATASETS}
    assert sizes == {
        "sugarcrepe": 7_511,
        "winoground": 2 * 400,
        "aro_relation": 23_937,
        "aro_attribution": 28_748,
        "coco_order": None,
        "flickr30k_order": None,
    }
    assert set(sizes) == set(datasets.read_benchmark("composition"))
    assert datasets.get_mean_list("winoground") == "composition"


def test_orders_are_those_of_the_files_of_the_retrieval_set() -> None:
    moved = replace(datasets.get("coco"), files={"test": ("elsewhere",)}, download_hint="a hint")
    orders = build_order_dataset(moved)
    assert orders.name == "coco_order"
    assert orders.kind == "composition"
    assert orders.files == {"test": ("elsewhere",)}
    assert orders.download_hint == "a hint"
    assert orders.source is moved
