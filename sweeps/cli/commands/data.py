"""`sweep.py data`: check, download or export evaluation data sets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from sweeps.monitor.terminal import make_console
from uniclip.config.overrides import TEXT, parse_overrides
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.protocols.published import DEFAULT_PROTOCOL, get_published_protocol

ACTIONS = ("check", "download", "export")
EXIT_CHECK_FAILED = 1
DEFAULT_DATA_ROOT = "data"
VALUE_FORMS = {"data_root": TEXT, "to": TEXT}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the action, the data sets, and the flag --checksums."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="check [data set ...], download <data set> ..., or export <data set> to=<folder>",
    )
    parser.add_argument(
        "--checksums", action="store_true", help="also compare files with the published checksums"
    )


def run(arguments: Namespace) -> int:
    """Execute `check [name ...]`, `download <name> ...` or `export <name> to=<folder>`."""
    values = parse_overrides(arguments.overrides, VALUE_FORMS)
    root = Path(str(values.pop("data_root", DEFAULT_DATA_ROOT))).expanduser()
    output_dir = values.pop("to", None)
    if values:
        raise UserError(f"data takes no {sorted(values)[0]}=: only data_root=<folder>")
    if not arguments.names:
        raise UserError("data needs an action: data check, or data download <name>")
    action, *names = arguments.names
    if action not in ACTIONS:
        raise make_unknown_name_error("action of data", action, ACTIONS)
    if action == "export":
        return export_dataset(root, names, output_dir)
    if output_dir is not None:
        raise UserError(f"data {action} takes no to=: it is for data export")
    act = check_datasets if action == "check" else download_datasets
    return act(root, names, verify_checksums=arguments.checksums)


def check_datasets(root: Path, names: list[str], *, verify_checksums: bool) -> int:
    """Print a line per data set; return 1 if one is a mismatch, corrupt, or named and missing.

    Args:
        root: Folder of the data sets.
        names: Data sets or benchmarks; if empty, every data set.
        verify_checksums: Whether files are compared with their published checksums.
    """
    selected_datasets = _select_datasets(names) or list(datasets.DATASETS.values())
    width = max(len(dataset.name) for dataset in selected_datasets)
    console = make_console()
    availabilities = []
    for dataset in selected_datasets:
        status = verify.verify_dataset(dataset, root, verify_checksums)
        availabilities.append(status.availability)
        details = "; ".join(status.describe())
        console.print(f"{dataset.name:<{width}}  {status.availability:<8}  {details}", markup=False)
    num_present = sum(state in ("complete", "partial", "mismatch") for state in availabilities)
    console.print(
        f"{num_present} of {len(selected_datasets)} data sets under data_root={root}", markup=False
    )
    failures = {"mismatch", "corrupt"} | ({"missing"} if names else set())
    return EXIT_CHECK_FAILED if failures & set(availabilities) else 0


def download_datasets(root: Path, names: list[str], *, verify_checksums: bool) -> int:
    """Download the named data sets that are missing, then check them."""
    from uniclip.evaluate.datasets.download import download  # here: it imports torch

    if not names:
        raise UserError(
            "data download takes the names of data sets: see python sweep.py data check"
        )
    selected_datasets = _select_datasets(names)
    for dataset in selected_datasets:
        if dataset.describe_missing(root) is not None:
            download(dataset, root)
    dataset_names = [dataset.name for dataset in selected_datasets]
    return check_datasets(root, dataset_names, verify_checksums=verify_checksums)


def export_dataset(root: Path, names: list[str], output_dir: object) -> int:
    """Write the splits of one data set that are present as WebDataset shards.

    The shards hold the prompts of the default protocol: its templates, and the first name of each
    class.
    """
    from uniclip.evaluate.datasets.readers import webdataset  # here: only an export needs it

    if len(names) != 1 or output_dir is None:
        raise UserError("data export takes one data set, and to=<folder>")
    dataset, output_path = datasets.get(names[0]), Path(str(output_dir)).expanduser()
    if dataset.kind == "composition":
        raise UserError(f"{dataset.name} cannot be exported: shards have no wrong captions")
    splits = [split for split in dataset.splits if dataset.describe_missing(root, (split,)) is None]
    if not splits:
        raise UserError(f"{dataset.name} is missing: {dataset.describe_missing(root)}")
    default_protocol = get_published_protocol(DEFAULT_PROTOCOL)
    console = make_console()
    for split in splits:
        images = dataset.open(root, split)
        rules = default_protocol.for_dataset(dataset.name, images.classes)
        first_names = tuple(class_names[0] for _, class_names in rules.class_names)
        templates = [t.replace("{}", "{c}") for t in rules.templates] if rules.class_names else []
        num_shards = webdataset.write_shards(
            replace(images, classes=first_names), output_path, templates=templates
        )
        console.print(f"{output_path / split}: {len(images):,} samples in {num_shards} shards")
    console.print(f"evaluate it as wds:{output_path}", markup=False)
    return 0


def _select_datasets(names: list[str]) -> list[Dataset]:
    """Return the data sets of these names without repeats; a benchmark stands for its data sets."""
    benchmarks = datasets.list_benchmarks()
    dataset_names = [
        dataset_name
        for name in names
        for dataset_name in (datasets.read_benchmark(name) if name in benchmarks else (name,))
    ]
    return list({d.name: d for d in map(datasets.get, dataset_names)}.values())
