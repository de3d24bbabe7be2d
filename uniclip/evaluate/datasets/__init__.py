"""The evaluation data sets: what there is, what is here, and how each is opened.

    datasets.get("dtd").missing(data_root)             None, or what to do
    datasets.get("dtd").open(data_root, "test")        `Pictures`

Names are those of the catalogue, or of the user's own pictures: `folder:<path>` (one folder a
class), `csv:<path>` (pictures and captions), `wds:<path>` (WebDataset shards). Nothing here imports
more than the standard library until a set is opened.
"""

from __future__ import annotations

from pathlib import Path

from uniclip.errors import UserError, unknown
from uniclip.evaluate.datasets import catalogue, further, own
from uniclip.evaluate.datasets.dataset import Dataset

__all__ = ["ALIASES", "DATASETS", "Dataset", "benchmark", "benchmarks", "get"]

BENCHMARKS = Path(__file__).parents[2] / "conf/benchmark"

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (*catalogue.CLASSIFICATION, *catalogue.RETRIEVAL, *further.FURTHER)
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
    if colon and kind in own.KINDS:
        return own.KINDS[kind](path)
    known = ALIASES.get(name, name)
    if known not in DATASETS:
        raise unknown("data set", name, [*DATASETS, *ALIASES, *(f"{k}:<path>" for k in own.KINDS)])
    return DATASETS[known]


def benchmarks(folder: Path = BENCHMARKS) -> tuple[str, ...]:
    """The names of the lists in a folder."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def benchmark(name: str, folder: Path = BENCHMARKS) -> tuple[str, ...]:
    """The data sets of a list, `<name>.yaml` in `folder`; `UserError` if it is no list of them."""
    from omegaconf import OmegaConf  # here: see above

    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise unknown("benchmark", name, benchmarks(folder))
    try:
        names = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # its parser's errors share no class
        said = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a YAML list of data sets ({said})") from None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UserError(f'{path} is not a YAML list of data sets: write "- dtd" and so on')
    found = tuple(get(n).name if ":" not in n else n for n in names)
    if len(set(found)) < len(found):
        raise UserError(f"{path} names a data set twice: {', '.join(names)}")
    return found
