"""`sweep.py data`: check, download or export evaluation data sets; hash or pack training
images."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.monitor.terminal import divert_text, make_console, print_json
from uniclip.config import CsvData, WebdatasetData
from uniclip.config.binding import bind
from uniclip.config.overrides import TEXT, parse_overrides
from uniclip.errors import UserError, make_unknown_name_error
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import copies, verify
from uniclip.evaluate.datasets.acquisition import describe_ways
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.same_images import SAME_IMAGES_KINDS
from uniclip.evaluate.protocols.published import DEFAULT_PROTOCOL, get_published_protocol

ACTIONS = ("check", "download", "export", "hash", "pack")
EXIT_CHECK_FAILED = 1
DEFAULT_DATA_ROOT = "data"
MAX_HINTS = 6
"""Missing data sets after which the check ends with the ways to get them all."""
SECTION_KEYS = {
    "hash": ("data.path", "data.where", "data.min_side", "data.labelled_path"),
    "pack": ("data.path", "data.image_column", "data.caption_column", "data.separator", "to"),
}
"""Action on training data -> the keys that it takes."""
VALUE_FORMS = {
    "data_root": TEXT,
    **{key: TEXT for keys in SECTION_KEYS.values() for key in keys if key != "data.min_side"},
}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the action, the data sets, and the flags --checksums and --json."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="check [data set ...], download <data set> ..., export <data set> to=<folder>, "
        "hash data.path=<shards> (decodes all images once, to find copies of test images), or "
        "pack data.path=<table or folder> to=<folder> (writes shards)",
    )
    parser.add_argument(
        "--checksums", action="store_true", help="also compare files with the published checksums"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(arguments: Namespace) -> int:
    """Execute `check`, `download`, `export`, `hash` or `pack`, as `add_arguments` says."""
    values = parse_overrides(arguments.overrides, VALUE_FORMS)
    if arguments.names and arguments.names[0] in SECTION_KEYS:
        return run_on_training_data(*arguments.names, values=values, as_json=arguments.json)
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
        return export_dataset(root, names, output_dir, as_json=arguments.json)
    if output_dir is not None:
        raise UserError(f"data {action} takes no to=: it is for data export")
    if action == "download":
        names = download_datasets(root, names, as_json=arguments.json)
    return check_datasets(root, names, verify_checksums=arguments.checksums, as_json=arguments.json)


def check_datasets(
    root: Path, names: list[str], *, verify_checksums: bool, as_json: bool = False
) -> int:
    """Print a line per data set; return 1 if one is a mismatch, corrupt, or named and missing.

    Args:
        root: Folder of the data sets.
        names: Data sets or benchmarks; if empty, every data set but those with the files of others.
        verify_checksums: Whether files are compared with their published checksums.
        as_json: Whether a JSON record per data set is printed instead.
    """
    selected_datasets = _select_datasets(names) or datasets.list_stored_datasets()
    width = max(len(dataset.name) for dataset in selected_datasets)
    console = make_console()
    availabilities, records = [], []
    for dataset in selected_datasets:
        resolved = copies.resolve_dataset(dataset, root)
        status = verify.verify_dataset(resolved, root, verify_checksums)
        availabilities.append(status.availability)
        if as_json:
            records.append(_make_record(status, root))
            continue
        details = "; ".join(status.describe())
        console.print(f"{dataset.name:<{width}}  {status.availability:<8}  {details}", markup=False)
    if as_json:
        print_json(records)
    else:
        num_present = sum(state in ("complete", "partial", "mismatch") for state in availabilities)
        summary = f"{num_present} of {len(selected_datasets)} data sets under data_root={root}"
        console.print(summary, markup=False)
        missing = [d.name for d, s in zip(selected_datasets, availabilities) if s == "missing"]
        if len(missing) > MAX_HINTS:
            console.print(f"{len(missing)} are missing:", markup=False)
            for way in describe_ways(missing, str(root)):
                console.print(f"  {way}", markup=False, soft_wrap=True)
    failures = {"mismatch", "corrupt"} | ({"missing"} if names else set())
    return EXIT_CHECK_FAILED if failures & set(availabilities) else 0


def _make_record(status: verify.DatasetStatus, root: Path) -> dict[str, object]:
    """Return the state of a data set as a JSON record."""
    return {
        "dataset": status.dataset.name,
        "data_root": str(root),
        "availability": status.availability,
        "images": status.counts,
        "details": list(status.describe()),
    }


def download_datasets(root: Path, names: list[str], *, as_json: bool = False) -> list[str]:
    """Download the named data sets that are missing, and return the names of all of them.

    Of a list, those that torchvision downloads; the check that follows says how to get the others.
    """
    from uniclip.evaluate.datasets.download import download  # here: it imports torch

    if not names:
        raise UserError(
            "data download takes the names of data sets: see python sweep.py data check"
        )
    selected_datasets = _select_datasets(names)
    own_names = {datasets.get(n).name for n in names if n not in datasets.list_benchmarks()}
    with divert_text(is_diverted=as_json):
        for dataset in selected_datasets:
            is_fetched = dataset.torchvision is not None or dataset.name in own_names
            present = copies.resolve_dataset(dataset, root)
            if is_fetched and present.describe_missing(root) is not None:
                download(dataset, root)
    return [dataset.name for dataset in selected_datasets]


def export_dataset(
    root: Path, names: list[str], output_dir: object, *, as_json: bool = False
) -> int:
    """Write the splits of one data set that are present as WebDataset shards.

    The shards hold the prompts of the default protocol: its templates, and the first name of each
    class.
    """
    from uniclip.evaluate.datasets.readers import webdataset  # here: only an export needs it

    if len(names) != 1 or output_dir is None:
        raise UserError("data export takes one data set, and to=<folder>")
    dataset, output_path = datasets.get(names[0]), Path(str(output_dir)).expanduser()
    if dataset.kind in ("composition", "association"):
        raise UserError(f"{dataset.name} cannot be exported: shards have no wrong captions")
    if dataset.kind in SAME_IMAGES_KINDS and dataset.source is not None:
        raise UserError(f"{dataset.name} has the images of {dataset.source.name}: export that")
    splits = [split for split in dataset.splits if dataset.describe_missing(root, (split,)) is None]
    if not splits:
        raise UserError(f"{dataset.name} is missing: {dataset.describe_missing(root)}")
    default_protocol = get_published_protocol(DEFAULT_PROTOCOL)
    console, records = make_console(), []
    for split in splits:
        images = dataset.open(root, split)
        rules = default_protocol.for_dataset(dataset.name, images.classes)
        first_names = tuple(class_names[0] for _, class_names in rules.class_names)
        templates = [t.replace("{}", "{c}") for t in rules.templates] if rules.class_names else []
        num_shards = webdataset.write_shards(
            replace(images, classes=first_names), output_path, templates=templates
        )
        folder = str(output_path / split)
        records.append({"folder": folder, "samples": len(images), "shards": num_shards})
        if not as_json:
            console.print(f"{folder}: {len(images):,} samples in {num_shards} shards")
    if as_json:
        print_json(records)
        return 0
    console.print(f"evaluate it as wds:{output_path}", markup=False)
    return 0


def run_on_training_data(
    action: str, *names: str, values: dict[str, Any], as_json: bool = False
) -> int:
    """Execute `hash` or `pack` with values of `SECTION_KEYS`; they take no names."""
    keys = SECTION_KEYS[action]
    if names:
        raise UserError(f"data {action} takes no {names[0]}: name the images with data.path=")
    if unknown := sorted(values.keys() - {*keys}):
        raise UserError(f"data {action} takes no {unknown[0]}=: only {', '.join(keys)}")
    for key in ("data.path", "to"):
        if key in keys and key not in values:
            raise UserError(f"data {action} needs {key}=")
    output_dir = values.pop("to", None)
    section = {key.removeprefix("data."): value for key, value in values.items()}
    if action == "hash":
        return hash_images(bind(WebdatasetData, section, "data."), as_json=as_json)
    folder = Path(str(output_dir)).expanduser()
    return pack_images(bind(CsvData, section, "data."), folder, as_json=as_json)


def hash_images(config: WebdatasetData, *, as_json: bool = False) -> int:
    """Make the thumbnails of all images of shards, in which copies of test images are searched."""
    from uniclip.evaluate.checks.shard_thumbnails import make_thumbnails  # here: it imports numpy

    console = make_console(stderr=as_json)
    num_samples = make_thumbnails(
        config, lambda done, total: console.print(f"{done} of {total} parts", markup=False)
    )
    if as_json:
        print_json({"images": num_samples})
        return 0
    console.print(
        f"{num_samples:,} images: evaluations find copies of test images among them",
    )
    return 0


def pack_images(config: CsvData, folder: Path, *, as_json: bool = False) -> int:
    """Write the images and captions of a table or of a folder of `datasets` as shards."""
    from uniclip.data.webdataset.packing import pack_table  # here: only this action needs it

    counts = pack_table(config, folder)
    num_samples = counts.pop("packed")
    if as_json:
        print_json({"folder": str(folder), "samples": num_samples, "left_out": counts})
        return 0
    console = make_console()
    console.print(
        f"{num_samples:,} samples: train on them with data=webdataset data.path={folder}",
        markup=False,
        soft_wrap=True,
    )
    for reason, number in counts.most_common():
        console.print(f"{number:,} rows are left out: {reason}", markup=False)
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
