"""The table of timm's models, which commands read without importing timm or torch."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE_PATH = Path(__file__).with_suffix(".tsv")
COMMENT = "# Models of timm {version}, written by: python -m uniclip.models.timm_table"
COLUMNS = ("name", "parameters", "gflops", "image_size")


@dataclass(frozen=True, kw_only=True)
class TimmModel:
    """An image model of timm, without its classifier."""

    name: str
    parameters: int | None
    """None: not measured, since the model cannot be built without its weights."""
    gflops: float | None
    """10^9 floating-point operations of a forward pass of one image; None: not measured."""
    image_size: int
    """Side of the images for which the model was made, in pixels."""

    def describe(self) -> str:
        """Return the sizes as a phrase."""
        parameters = "?" if self.parameters is None else f"{self.parameters / 1e6:.1f}"
        gflops = "?" if self.gflops is None else f"{self.gflops:.4g}"
        return f"{parameters:>7} M, {gflops:>7} GFLOPs at {self.image_size} px"


@cache
def read_table() -> tuple[TimmModel, ...]:
    """Return the models in the table, by name."""
    lines = TABLE_PATH.read_text(encoding="utf-8").splitlines()[2:]
    return tuple(_parse_row(line.split("\t")) for line in lines)


@cache
def read_table_version() -> str:
    """Return the version of timm whose models are in the table."""
    with open(TABLE_PATH, encoding="utf-8") as stream:
        return stream.readline().removeprefix("# Models of timm ").partition(",")[0]


def find_models(pattern: str) -> list[TimmModel]:
    """Return the models whose name has `pattern` in it, or matches it if it has a wildcard.

    The tag of pretrained weights, as in `resnet18.a1_in1k`, does not count.
    """
    pattern = pattern.partition(".")[0] or pattern
    if any(character in pattern for character in "*?["):
        return [m for m in read_table() if fnmatch.fnmatchcase(m.name, pattern.lower())]
    return [m for m in read_table() if pattern.lower() in m.name]


def format_table(models: Iterable[TimmModel], version: str) -> str:
    """Return the text of the table file."""
    rows = [
        "\t".join("" if value is None else str(value) for value in vars(model).values())
        for model in models
    ]
    return "\n".join([COMMENT.format(version=version), "\t".join(COLUMNS), *rows, ""])


def _parse_row(cells: list[str]) -> TimmModel:
    name, parameters, gflops, image_size = cells
    return TimmModel(
        name=name,
        parameters=int(parameters) if parameters else None,
        gflops=float(gflops) if gflops else None,
        image_size=int(image_size),
    )
