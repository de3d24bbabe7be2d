"""The evaluation data sets: what there is, what is here, and how each is opened.

    datasets.get("dtd").missing(data_root)             None, or what to do
    datasets.get("dtd").open(data_root, "test")        `Pictures`

Names are those of the catalogue, or of the user's own pictures: `folder:<path>` (one folder a
class), `csv:<path>` (pictures and captions), `wds:<path>` (WebDataset shards). Nothing here imports
more than the standard library until a set is opened.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from uniclip.config import compose
from uniclip.errors import UserError, unknown
from uniclip.evaluate.datasets import bench14, custom, more_datasets
from uniclip.evaluate.datasets.dataset import Dataset, looked_at_once

__all__ = ["ALIASES", "DATASETS", "Dataset", "benchmark", "benchmarks", "get", "looked_at_once"]

CONF = Path(__file__).parents[2] / "conf"

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (*bench14.CLASSIFICATION, *bench14.RETRIEVAL, *more_datasets.FURTHER)
}
"""Every published set that we read."""

ALIASES = {
    "aircraft": "fgvc_aircraft",
    "cars": "stanford_cars",
    "flowers": "flowers102",
    "imagenet1k": "imagenet",
    "mscoco": "coco",
    "mscoco_captions": "coco",
    "pets": "oxford_pets",
    "voc2007_multilabel": "voc2007",
}
"""What others call them."""


def get(name: str) -> Dataset:
    """The data set of that name or alias, or the user's own pictures, such as `folder:<path>`.

    `UserError` offers the nearest names.
    """
    kind, colon, path = name.partition(":")
    if colon and kind in custom.KINDS:
        return custom.KINDS[kind](path)
    known = ALIASES.get(name, name)
    if known not in DATASETS:
        raise unknown(
            "data set", name, [*DATASETS, *ALIASES, *(f"{k}:<path>" for k in custom.KINDS)]
        )
    return DATASETS[known]


def benchmarks(folders: Sequence[Path] = (CONF,)) -> tuple[str, ...]:
    """The names of the lists in the `benchmark` folders of these, ours unless told otherwise."""
    return tuple(sorted({path.stem for f in folders for path in (f / "benchmark").glob("*.yaml")}))


def benchmark(
    name: str, folders: Sequence[Path] = (CONF,), also: Collection[str] = ()
) -> tuple[str, ...]:
    """The data sets of the list `benchmark/<name>.yaml`, in its order.

    also: other names that may stand there. Raises `UserError` if there is no such list, or if it is
    no list of data sets.
    """
    path = next((p for f in folders if (p := f / "benchmark" / f"{name}.yaml").is_file()), None)
    if path is None:
        raise unknown("benchmark", name, benchmarks(folders))
    names = _listed(path)
    found = tuple(n if ":" in n or n in also else get(n).name for n in names)
    if len(set(found)) < len(found):
        raise UserError(f"{path} names a data set twice: {', '.join(names)}")
    return found


def _listed(path: Path) -> list[str]:
    names = compose.read(path)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(f'{path} is not a YAML list of data sets: write "- dtd" and so on')
    return names
