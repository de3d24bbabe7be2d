"""The verb `data`: what there is of the evaluation data sets, and fetching them."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from sweeps.monitor.terminal import make_console
from uniclip.config.compose import parse_overrides
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.protocols import protocol

EXIT_CHECK_FAILED = 1
DEFAULT_DATA_ROOT = "data"


def data(options: Namespace) -> int:
    """`data check [name ...]`, `data download <name> ...` or `data export <name> to=<folder>`."""
    values = parse_overrides(options.overrides)
    root = Path(str(values.pop("data_root", DEFAULT_DATA_ROOT))).expanduser()
    output_dir = values.pop("to", None)
    if values:
        raise UserError(f"data takes no {sorted(values)[0]}=: only data_root=<folder>")
    if not options.names:
        raise UserError("data needs to know what to do: data check, or data download <name>")
    action, *names = options.names
    if action not in ("check", "download", "export"):
        raise make_unknown_name_error("action of data", action, ("check", "download", "export"))
    if action == "export":
        return export_dataset(root, names, output_dir)
    if output_dir is not None:
        raise UserError(f"data {action} takes no to=: it is for data export")
    return (check_datasets if action == "check" else download_datasets)(root, names, options.sums)


def check_datasets(root: Path, names: list[str], verify_checksums: bool) -> int:
    """Print a line a set; 1 if a set differs or is damaged, or one that was named is missing."""
    selected_datasets = _select_datasets(names) or list(datasets.DATASETS.values())
    width = max(len(d.name) for d in selected_datasets)
    states = []
    for dataset in selected_datasets:
        dataset_status = verify.verify_dataset(dataset, root, verify_checksums)
        states.append(dataset_status.availability)
        details = "; ".join(dataset_status.describe())
        make_console().print(
            f"{dataset.name:<{width}}  {dataset_status.availability:<7}  {details}", markup=False
        )
    num_present = sum(state in ("here", "partly", "differs") for state in states)
    make_console().print(
        f"{num_present} of {len(selected_datasets)} sets under data_root={root}", markup=False
    )
    failing_states = {"differs", "damaged"} | ({"missing"} if names else set())
    return EXIT_CHECK_FAILED if failing_states & set(states) else 0


def download_datasets(root: Path, names: list[str], verify_checksums: bool) -> int:
    """Download the named sets, then say what there is of them."""
    from uniclip.evaluate.datasets.download import download  # imports torch

    if not names:
        raise UserError(
            "data download takes the names of data sets: see python sweep.py data check"
        )
    selected_datasets = _select_datasets(names)
    for dataset in selected_datasets:
        if dataset.describe_missing(root) is not None:
            download(dataset, root)
    return check_datasets(root, [d.name for d in selected_datasets], verify_checksums)


def export_dataset(root: Path, names: list[str], output_dir: object) -> int:
    """Write the parts of one set that are here as WebDataset shards.

    With the prompts of the default protocol: its templates, and of each class the first name.
    """
    from uniclip.evaluate.datasets.readers import webdataset

    if len(names) != 1 or output_dir is None:
        raise UserError("data export takes one data set, and to=<folder>")
    dataset, output_path = datasets.get(names[0]), Path(str(output_dir)).expanduser()
    parts = [part for part in dataset.splits if dataset.describe_missing(root, (part,)) is None]
    if not parts:
        raise UserError(f"{dataset.name} is missing: {dataset.describe_missing(root)}")
    rules = protocol.get_published_protocol(protocol.DEFAULT_PROTOCOL)
    for part in parts:
        images = dataset.open(root, part)
        dataset_protocol = rules.for_dataset(dataset.name, images.classes)
        renamed_images = replace(
            images, classes=tuple(names[0] for _, names in dataset_protocol.class_names)
        )
        prompts = (
            [t.replace("{}", "{c}") for t in dataset_protocol.templates]
            if dataset_protocol.class_names
            else []
        )
        num_shards = webdataset.write_shards(renamed_images, output_path, templates=prompts)
        make_console().print(
            f"{output_path / part}: {len(images):,} samples in {num_shards} shards"
        )
    make_console().print(f"evaluate it as wds:{output_path}", markup=False)
    return 0


def _select_datasets(names: list[str]) -> list[Dataset]:
    """The sets of these names, each once; a benchmark's name stands for all of its sets."""
    benchmark_lists = datasets.list_benchmarks()
    dataset_names = [
        n
        for name in names
        for n in (datasets.read_benchmark(name) if name in benchmark_lists else (name,))
    ]
    return list({d.name: d for d in map(datasets.get, dataset_names)}.values())
