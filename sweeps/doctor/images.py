"""Check of the user's images: those that are evaluated are decoded before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from uniclip import data
from uniclip.config import CsvData, HuggingfaceData, RunConfig, WebdatasetData
from uniclip.data.csv import verification
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import verify
from uniclip.io.image_check import ImageFindings

CHECK = "images"
REPAIR = "repair these files; run ids stay the same, unless data.verify=true"
MAX_LISTED = 100
"""Unreadable images that a problem lists; it counts the others."""
NUM_QUICK = 500
"""Images that are decoded so quickly that, after a problem, they need not be remembered."""
MAX_NAMED = 3
"""Images that a warning names."""
SECONDS_PER_LINE = 10
"""Seconds between two lines on the progress of an index."""


def check_user_images(context: DoctorContext) -> Iterator[Diagnostic]:
    """Decode the user's validation and test images, and a sample of the training images.

    Good images are remembered in the store's cache and not decoded again. More unreadable training
    images than may be replaced are a `UserError`.
    """
    yield from _index_shards(context)
    yield from _index_datasets(context)
    evaluated = list(_verify_evaluated_images(context))
    broken = [findings for findings in evaluated if findings.unreadable]
    yield from map(_report_unreadable, broken)
    if broken:
        for findings in evaluated:
            if findings.num_decoded > NUM_QUICK:
                findings.remember()
        return
    training = [
        (config, verification.verify_training_sample(config, context.store.cache_path))
        for config in _list_data_sections(context)
    ]
    for config, findings in training:
        yield from _warn_of_training_images(config, findings)
    for findings in (*evaluated, *(findings for _, findings in training)):
        yield from _warn_of_one_color(findings)
        findings.remember()
    num_images = sum(findings.num_images for findings in evaluated)
    if num_images:
        yield ok(CHECK, f"{num_images:,} images for validation and testing can be read")


def _verify_evaluated_images(context: DoctorContext) -> Iterator[ImageFindings]:
    """Yield the findings of each table's validation and test images, and of each user's set."""
    for config in _list_data_sections(context):
        report_progress = _make_progress_line(context, config.path)
        yield verification.verify_held_out_images(config, context.store.cache_path, report_progress)
    evaluations = {} if context.plan is None else context.plan.evaluation_hashes
    for name in dict.fromkeys(name for hashes in evaluations.values() for name in hashes):
        if ":" not in name:
            continue
        dataset = datasets.get(name)
        if dataset.user_folder is None or dataset.describe_missing(dataset.user_folder):
            continue  # scored from cached embeddings
        report_progress = _make_progress_line(context, name)
        yield verify.verify_user_images(dataset, context.store.cache_path, report_progress)


def _list_configs(context: DoctorContext) -> list[RunConfig]:
    resolved_plan = context.resolved_plan
    return [context.config] if resolved_plan is None else [*resolved_plan.configs.values()]


def _list_data_sections(context: DoctorContext) -> list[CsvData]:
    """Return the data sections of the arms that are tables of the user, each once."""
    sections = dict.fromkeys(config.data for config in _list_configs(context))
    return [
        section
        for section in sections
        if isinstance(section, CsvData) and data.describe_missing(section) is None
    ]


def _index_shards(context: DoctorContext) -> Iterator[Diagnostic]:
    """Index the shards of each data section, so that no run has to; decode what is held out."""
    from uniclip.data.webdataset.index import open_index  # here: it imports numpy

    sections = dict.fromkeys(config.data for config in _list_configs(context))
    for section in sections:
        if not isinstance(section, WebdatasetData) or data.describe_missing(section) is not None:
            continue
        index = open_index(section, _make_shard_line(context, section.path))
        for name in ("validation", "test"):
            data.open_split(section, name)
        yield ok(CHECK, f"{len(index):,} samples of {len(index.shards):,} shards are indexed")


def _index_datasets(context: DoctorContext) -> Iterator[Diagnostic]:
    """Index the data sets with embedded images, likewise."""
    from uniclip.data.huggingface.index import open_index  # here: it imports numpy

    sections = dict.fromkeys(config.data for config in _list_configs(context))
    for section in sections:
        if not isinstance(section, HuggingfaceData) or data.describe_missing(section) is not None:
            continue
        index = open_index(section)
        for name in ("validation", "test"):
            data.open_split(section, name)
        num_files = len(index.data_folder.files)
        noun = "file" if num_files == 1 else "files"
        yield ok(
            CHECK, f"{index.content.num_samples:,} samples of {num_files:,} {noun} are indexed"
        )


def _make_shard_line(context: DoctorContext, path: str) -> Callable[[int, int], None]:
    last_line = time.monotonic()

    def print_progress(num_done: int, num_total: int) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= SECONDS_PER_LINE:
            context.print_line(f"reading the headers of {path}: {num_done:,} of {num_total:,}")
            last_line = time.monotonic()

    return print_progress


def _make_progress_line(context: DoctorContext, name: str) -> Callable[[int, int], None]:
    def print_progress(num_done: int, num_total: int) -> None:
        context.print_line(f"checking the images of {name}: {num_done:,} of {num_total:,}")

    return print_progress


def _report_unreadable(findings: ImageFindings) -> Diagnostic:
    unreadable = findings.unreadable
    listed = [*unreadable[:MAX_LISTED]]
    if len(unreadable) > MAX_LISTED:
        listed.append(f"and {len(unreadable) - MAX_LISTED:,} more")
    message = (
        f"{len(unreadable):,} of {findings.num_images:,} images for validation and testing cannot "
        f"be used: {'; '.join(listed)}"
    )
    return problem(CHECK, message, REPAIR)


def _warn_of_training_images(config: CsvData, findings: ImageFindings) -> Iterator[Diagnostic]:
    if findings.unreadable:
        yield warning(
            CHECK,
            f"{len(findings.unreadable):,} of {findings.num_images:,} training images that were "
            f"tried cannot be read: {_name_first(findings.unreadable)}",
            "repair them; in training others take their place, up to data.max_broken="
            f"{config.max_broken:g}",
        )


def _warn_of_one_color(findings: ImageFindings) -> Iterator[Diagnostic]:
    if findings.one_color:
        yield warning(
            CHECK,
            f"{len(findings.one_color):,} of {findings.num_images:,} images are of a single color: "
            f"{_name_first(findings.one_color)}",
            "look at them: they may be empty, or have values outside the range of their mode",
        )


def _name_first(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return "; ".join(names[:MAX_NAMED]) + more
