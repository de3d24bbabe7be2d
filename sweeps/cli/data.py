"""The verb `data`: what there is of the evaluation data sets, and fetching them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from sweeps.cli.main import console
from uniclip.config.compose import parse
from uniclip.errors import UserError, unknown
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.protocols import protocol

NOT_AS_ASKED = 1
ROOT = "data"


def data(options: Namespace) -> int:
    """`data check [name ...]`, `data download <name> ...` or `data export <name> to=<folder>`."""
    values = parse(options.overrides)
    root = Path(str(values.pop("data_root", ROOT))).expanduser()
    to = values.pop("to", None)
    if values:
        raise UserError(f"data takes no {sorted(values)[0]}=: only data_root=<folder>")
    if not options.names:
        raise UserError("data needs to know what to do: data check, or data download <name>")
    action, *names = options.names
    if action not in ("check", "download", "export"):
        raise unknown("action of data", action, ("check", "download", "export"))
    if action == "export":
        return export(root, names, to)
    if to is not None:
        raise UserError(f"data {action} takes no to=: it is for data export")
    return (check if action == "check" else fetch)(root, names, options.sums)


def check(root: Path, names: list[str], sums: bool) -> int:
    """Print a line a set; 1 if a set differs or is damaged, or one that was named is missing."""
    chosen = _chosen(names) or list(datasets.DATASETS.values())
    width = max(len(d.name) for d in chosen)
    states = []
    for dataset in chosen:
        found = verify.look(dataset, root, sums)
        states.append(found.state)
        said = "; ".join(found.lines())
        console().print(f"{dataset.name:<{width}}  {found.state:<7}  {said}", markup=False)
    here = sum(state in ("here", "partly", "differs") for state in states)
    console().print(f"{here} of {len(chosen)} sets under data_root={root}", markup=False)
    wrong = {"differs", "damaged"} | ({"missing"} if names else set())
    return NOT_AS_ASKED if wrong & set(states) else 0


def fetch(root: Path, names: list[str], sums: bool) -> int:
    """Download the named sets, then say what there is of them."""
    from uniclip.evaluate.datasets.download import download  # imports torch

    if not names:
        raise UserError(
            "data download takes the names of data sets: see python sweep.py data check"
        )
    chosen = _chosen(names)
    for dataset in chosen:
        if dataset.missing(root) is not None:
            download(dataset, root)
    return check(root, [d.name for d in chosen], sums)


def export(root: Path, names: list[str], to: object) -> int:
    """Write the parts of one set that are here as WebDataset shards.

    With the prompts of the default protocol: its templates, and of each class the first name.
    """
    from uniclip.evaluate.datasets.readers import webdataset

    if len(names) != 1 or to is None:
        raise UserError("data export takes one data set, and to=<folder>")
    dataset, folder = datasets.get(names[0]), Path(str(to)).expanduser()
    parts = [part for part in dataset.parts if dataset.missing(root, (part,)) is None]
    if not parts:
        raise UserError(f"{dataset.name} is missing: {dataset.missing(root)}")
    rules = protocol.published(protocol.DEFAULT)
    for part in parts:
        pictures = dataset.open(root, part)
        said = rules.judgement(dataset.name, pictures.classes)
        named = replace(pictures, classes=tuple(names[0] for _, names in said.names))
        prompts = [t.replace("{}", "{c}") for t in said.templates] if said.names else []
        number = webdataset.write(named, folder, templates=prompts)
        console().print(f"{folder / part}: {len(pictures):,} samples in {number} shards")
    console().print(f"evaluate it as wds:{folder}", markup=False)
    return 0


def _chosen(names: list[str]) -> list[Dataset]:
    """The sets of these names, each once; a benchmark's name stands for all of its sets."""
    lists = datasets.benchmarks()
    flat = [n for name in names for n in (datasets.benchmark(name) if name in lists else (name,))]
    return list({d.name: d for d in map(datasets.get, flat)}.values())
