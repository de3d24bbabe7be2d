"""How many missing data sets are obtained, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import copies
from uniclip.evaluate.datasets.dataset import Dataset

DATACOMP = "github.com/mlfoundations/datacomp"
HUB_ONLY = ("coco", "fer2013", "flickr30k")
"""Data sets of which CLIP_benchmark publishes a copy in shards, and DataComp none."""
MAX_NAMES = 4
"""Names that are listed in a line."""


def describe_ways(names: Sequence[str], data_root: str) -> list[str]:
    """Return a line for each way to get missing data sets, the shortest way first.

    Each data set counts once, in the first line that applies. Neither network nor disk is read.

    Args:
        names: Data sets; user-defined ones are left out.
        data_root: Where they belong, as the user writes it.
    """
    missing = [datasets.DATASETS[name] for name in names if name in datasets.DATASETS]
    followers = [d for d in missing if d.source is not None]
    downloadable = [d for d in missing if d.source is None and d.torchvision is not None]
    rest = [d for d in missing if d.source is None and d.torchvision is None]
    in_hub = [d for d in rest if d.name in HUB_ONLY]
    in_datacomp = [d for d in rest if d not in in_hub and _has_datacomp_copy(d)]
    by_hand = [d for d in rest if d not in in_hub and d not in in_datacomp]
    root = "" if data_root == "data" else f" data_root={data_root}"
    ways = {
        f"by python sweep.py data download {_name_briefly(downloadable)}{root}": downloadable,
        f"by download_evalsets.py {data_root} of {DATACOMP}": in_datacomp,
        f"from {copies.HUB.removeprefix('https://')}: {_join_names(in_hub)}": in_hub,
        f"by hand: {_join_names(by_hand)}": by_hand,
        "with the images of other data sets (few shots and the like)": followers,
    }
    return [f"{len(members)} {way}" for way, members in ways.items() if members]


def _has_datacomp_copy(dataset: Dataset) -> bool:
    """Return whether DataComp's script gets the copy that is read."""
    is_copied = dataset.name in copies.COPY_KEYS
    return is_copied or any(pattern.startswith("wds_") for pattern in dataset.files["test"])


def _join_names(members: Sequence[Dataset]) -> str:
    names = [dataset.name for dataset in members]
    more_text = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more_text}"


def _name_briefly(members: Sequence[Dataset]) -> str:
    """Return the arguments of `data download`: the names, or lists that contain them if many."""
    names = {dataset.name for dataset in members}
    if len(names) <= MAX_NAMES:
        return " ".join(sorted(names))
    arguments: list[str] = []
    contents = {name: {*datasets.read_benchmark(name)} for name in datasets.list_benchmarks()}
    while names:
        best = max(contents, key=lambda name: len(contents[name] & names))
        if not contents[best] & names:
            return " ".join([*arguments, *sorted(names)])
        arguments.append(best)
        names -= contents[best]
    return " ".join(sorted(arguments))
