"""A published data set as a benchmark: zero-shot and linear probe, or retrieval, by a protocol.

`uniclip.evaluate.datasets` reads the images, `protocols` defines how they are evaluated, `scoring`
computes the scores. A data set that is not under `runtime.data_root` is missing, with the line that
says how to get it; the others are evaluated without it. With test images alone (ImageNet is often
stored so) there is no probe, and without the validation images of a retrieval set no log
likelihood. A data set that is gone, but was evaluated before with the same cache,
is not missing: models whose embeddings are cached are scored again without images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.config import RuntimeConfig
from uniclip.config.binding import to_builtins
from uniclip.config.cores import derive_num_workers
from uniclip.evaluate import datasets
from uniclip.evaluate.benchmarks.base import Benchmark
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import copies
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import CAPTIONED_KINDS
from uniclip.evaluate.datasets.same_images import SAME_IMAGES_KINDS
from uniclip.evaluate.progress import ReportProgress, ignore_progress
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols.protocol import (
    COMPOSITION_VERSION,
    DEFAULT_DATASET,
    FEW_SHOT_VERSION,
    RETRIEVAL_VERSION,
    SHIFT_VERSION,
    TEMPERATURE_RECORD,
    VERSION,
    EvaluationProtocol,
    FewShotConfig,
)
from uniclip.io import hashing
from uniclip.io.atomic import resolve_staged_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.data.split import SplitName
    from uniclip.evaluate.benchmarks.base import Results
    from uniclip.evaluate.scoring.dataset_splits import DatasetSplits
    from uniclip.evaluate.scoring.published import DatasetScorer

    Splits = tuple[SplitName, ...]

NOTED_FIELDS = ("kind", "files", "held_out", "templates", "class_names")
"""Fields of a user-defined data set, or of a copy, that are noted for when it is missing."""


def build_published_benchmark(
    name: str,
    runtime: RuntimeConfig,
    cache: Cache,
    should_stop: Callable[[], bool],
    report_progress: ReportProgress = ignore_progress,
) -> PublishedBenchmark:
    """Return the benchmark of a published or user-defined data set, by its name.

    Raises `UserError` for an unknown data set or a faulty protocol.
    """
    root = str(resolve_staged_path(runtime.data_root))
    protocol = custom.build_protocol(runtime.protocol)
    return PublishedBenchmark(
        datasets.get(name).name, root, protocol, cache, should_stop, report_progress
    )


@dataclass(frozen=True)
class PublishedBenchmark(Benchmark):
    """One data set under one protocol."""

    name: str
    """Name of the data set."""
    root: str
    """The data root."""
    protocol: EvaluationProtocol
    cache: Cache = field(default_factory=Cache)
    should_stop: Callable[[], bool] = lambda: False
    """Called during an evaluation, which raises `StopRequested` once it returns True."""
    report_progress: ReportProgress = ignore_progress
    """Called during a long evaluation."""

    def describe_missing(self) -> str | None:
        dataset = self.resolve_dataset()
        needs_training_images = dataset.kind in SAME_IMAGES_KINDS
        needed = _required_splits(dataset) if needs_training_images else ("test",)
        reason = dataset.describe_missing(self.root, needed)
        return None if self._read_note(dataset) else reason

    def describe_missing_probe_data(self) -> str | None:
        dataset = self.resolve_dataset()
        required_splits = _required_splits(dataset)
        if dataset.kind in (*CAPTIONED_KINDS, *SAME_IMAGES_KINDS):
            return None
        splits, _ = self._resolve_data(dataset)
        if splits == required_splits:
            return None
        return dataset.describe_missing(self.root, required_splits)

    def build_protocol(self) -> dict[str, Any]:
        dataset = self.resolve_dataset()
        protocol = self._with_stored_templates(dataset)
        splits, fingerprint = self._resolve_data(dataset)
        is_few_shot, name = dataset.kind == "few_shot", _get_prompts_name(dataset)
        is_probed = dataset.kind not in (*CAPTIONED_KINDS, "fine_tuning")
        has_probe = is_probed and splits == _required_splits(dataset)
        class_names = None if is_few_shot else protocol.get_class_name_entry(name)
        return {
            "protocol": protocol.name,
            "data": fingerprint,
            "metric": protocol.get_metric(name),
            "templates": [] if is_few_shot else list(protocol.get_templates(name)),
            "names": hashing.digest(class_names),
            "preprocessing": to_builtins(protocol.preprocessing),
            "linear_probe": to_builtins(protocol.probe_config) if has_probe else None,
            "difficult_objects": protocol.difficult_objects,
            "deviations": [] if dataset.kind == "fine_tuning" else list(protocol.deviations),
            **_build_version_record(dataset, splits, protocol),
            **self._build_shift_record(dataset),
        }

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        from uniclip.evaluate.scoring.score_card import ScoreCard  # here: it imports numpy

        scorer, score_card = self._build_scorer(pretrained), ScoreCard()
        if scorer.score(score_card):
            self._write_note(scorer.splits)
        return score_card.get_results()

    def embed_share(self, pretrained: PretrainedModel, rank: int, world_size: int) -> None:
        """Cache the share of process `rank` in the image features that `evaluate` needs."""
        if self.cache.folder is not None:
            self._build_scorer(pretrained).embed_share(rank, world_size)

    def _build_scorer(self, pretrained: PretrainedModel) -> DatasetScorer:
        from uniclip.evaluate.scoring.embeddings import CachedEncoder  # here: it imports numpy
        from uniclip.evaluate.scoring.published import DatasetScorer

        dataset = self.resolve_dataset()
        return DatasetScorer(
            CachedEncoder(
                pretrained, self.cache, self.should_stop, derive_num_workers(pretrained.config)
            ),
            self._with_stored_templates(dataset),
            self._build_splits(dataset),
            self.report_progress,
        )

    def resolve_dataset(self) -> Dataset:
        """Return the data set as the protocol tests it.

        A copy stands in for missing files of the publisher (`uniclip.evaluate.datasets.copies`).
        Templates and class names that lie beside published images are read. What is missing,
        user-defined or with such templates, is described as when it was last evaluated.
        """
        dataset = self._choose_copy(datasets.get(self.name))
        if self.name in self.protocol.test_on_all:
            dataset = dataset.with_all_as_test()
        is_present = dataset.user_folder is None or dataset.user_folder.exists()
        if is_present and not dataset.has_templates:
            return dataset
        if dataset.has_templates and dataset.describe_missing(self.root, ("test",)) is None:
            reader, root = dataset.reader, Path(self.root)
            return replace(
                dataset,
                templates=reader.read_templates(root),
                class_names=reader.read_class_names(root),
            )
        note = self._read_note(dataset)
        if note is None:
            return dataset
        files = {split: tuple(patterns) for split, patterns in note["files"].items()}
        class_names = {key: tuple(names) for key, names in note.get("class_names", {}).items()}
        return replace(
            dataset,
            files=files,
            held_out=note["held_out"],
            templates=tuple(note["templates"]),
            class_names=class_names,
        )

    def _choose_copy(self, dataset: Dataset) -> Dataset:
        """Return the data set, or the copy of it that is, or was last evaluated, under the root."""
        chosen = copies.resolve_dataset(dataset, self.root)
        folders = copies.list_copy_folders(dataset.name)
        if (
            chosen is not dataset
            or not folders
            or dataset.describe_missing(self.root, ("test",)) is None
            or self._read_note(dataset) is not None
        ):
            return chosen
        copy = copies.build_copy(dataset, self.root, folders[0])
        return dataset if self._read_note(copy) is None else copy

    def build_source(self) -> PublishedBenchmark:
        """Return the benchmark on the data set whose images this one has: else itself.

        A protocol that tests the source on all images does not do so here.
        """
        source = self.resolve_dataset().source
        if source is None:
            return self
        return replace(self, name=source.name, protocol=replace(self.protocol, test_on_all=()))

    def select_pictures(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the value of each test image (n,), of those (m,) of the source's test images."""
        dataset = self.resolve_dataset()
        if dataset.source is None:
            return values
        rows = self._build_splits(dataset).open("test").picture_rows
        return values if rows is None else values[rows]

    def _resolve_data(self, dataset: Dataset) -> tuple[Splits, dict[str, Any]]:
        """Return the splits that are evaluated, and the fingerprint of their data.

        Where some data are missing, these are the splits and the fingerprint of the last
        evaluation, provided that what is left of the test split is unchanged; else the test split
        alone.
        """
        required_splits, note = _required_splits(dataset), self._read_note(dataset)
        is_complete = dataset.describe_missing(self.root, required_splits) is None
        has_test = dataset.describe_missing(self.root, ("test",)) is None
        if is_complete or (note is None and not has_test):
            return required_splits, dataset.fingerprint(self.root, required_splits)
        test_fingerprint = dataset.fingerprint(self.root, ("test",))
        if note and test_fingerprint["files"].items() <= note["data"]["files"].items():
            return tuple(note["splits"]), note["data"]
        return ("test",), test_fingerprint

    def _resolve_source(self, dataset: Dataset) -> DatasetSplits | None:
        """Return the splits of the data set whose images a data set has; None if they are its own.

        With the fingerprint that its own evaluation has, so that both share features.
        """
        from uniclip.evaluate.scoring.dataset_splits import DatasetSplits  # here: numpy

        if dataset.source is None:
            return None
        noted_source = (self._read_note(dataset) or {}).get("source")
        if noted_source and dataset.source.describe_missing(self.root, ("test",)) is not None:
            splits, fingerprint = tuple(noted_source["splits"]), noted_source["data"]
        else:
            splits, fingerprint = self._resolve_data(dataset.source)
        return DatasetSplits(dataset.source, self.root, splits, fingerprint, self.cache)

    def _resolve_reference(self, dataset: Dataset) -> tuple[Dataset, Splits, dict[str, Any]] | None:
        """Return the data set without the shift, its splits and its fingerprint, if present."""
        if dataset.reference is None:
            return None
        benchmark = replace(self, name=dataset.reference.name)
        if benchmark.describe_missing() is not None:
            return None
        reference = benchmark.resolve_dataset()
        return reference, *self._resolve_data(reference)

    def _build_shift_record(self, dataset: Dataset) -> dict[str, Any]:
        """Return what scores relative to the data set without the shift depend on.

        Of its files, those of the test split.
        """
        resolved = self._resolve_reference(dataset)
        if resolved is None:
            return {}
        reference, _, fingerprint = resolved
        names = {pattern.split("|")[0] for pattern in reference.files["test"]}
        files = {n: digest for n, digest in fingerprint["files"].items() if n in names}
        return {"reference": {**fingerprint, "files": files}, "shift_version": SHIFT_VERSION}

    def _build_splits(self, dataset: Dataset) -> DatasetSplits:
        from uniclip.evaluate.scoring.dataset_splits import DatasetSplits  # here: numpy

        reference = self._resolve_reference(dataset)
        return DatasetSplits(
            *(dataset, self.root, *self._resolve_data(dataset), self.cache),
            source=self._resolve_source(dataset),
            reference=None
            if reference is None
            else DatasetSplits(reference[0], self.root, *reference[1:], self.cache),
        )

    def _with_stored_templates(self, dataset: Dataset) -> EvaluationProtocol:
        """Return the protocol; what is stored beside the images precedes published prompts."""
        protocol, name = self.protocol, _get_prompts_name(dataset)
        if dataset.class_names:
            names = {**dataset.class_names, **protocol.custom_names.get(name, {})}
            custom_names = {**protocol.custom_names, name: names}
            protocol = replace(protocol, custom_names=custom_names)
        custom_templates = protocol.custom_templates
        has_classes = dataset.kind not in CAPTIONED_KINDS
        preceding = {name, DEFAULT_DATASET} if has_classes else {name}
        if not dataset.templates or preceding & set(custom_templates):
            return protocol
        templates = {**custom_templates, name: dataset.templates}
        return replace(protocol, custom_templates=templates)

    def _read_note(self, dataset: Dataset) -> dict[str, Any] | None:
        """Return what was noted at the last evaluation whose features are cached; None if none."""
        note: dict[str, Any] = self.cache.read_note(self._note_name(dataset)) or {}
        return note if note.get("kind") == dataset.kind else None

    def _write_note(self, splits: DatasetSplits) -> None:
        dataset = splits.dataset
        note = {"data": splits.fingerprint, "splits": splits.names}
        note |= {name: to_builtins(getattr(dataset, name)) for name in NOTED_FIELDS}
        if splits.source is not None:
            note["source"] = {"data": splits.source.fingerprint, "splits": splits.source.names}
        self.cache.write_note(self._note_name(dataset), note)

    def _note_name(self, dataset: Dataset) -> str:
        root = str(Path(self.root).absolute())
        return hashing.digest([dataset.name, root, dataset.split_rule])


def _get_prompts_name(dataset: Dataset) -> str:
    """Return the name of the data set whose prompts and metric a data set has."""
    if dataset.kind == "fine_tuning" and dataset.source is not None:
        return dataset.source.name
    return dataset.name


def _build_version_record(
    dataset: Dataset, splits: Splits, protocol: EvaluationProtocol
) -> dict[str, Any]:
    """Return the version of the scores, and what else those of retrieval depend on.

    Without validation images no temperature is fitted, and there is no log likelihood.
    """
    if dataset.kind in ("composition", "association"):
        return {"version": COMPOSITION_VERSION}
    if dataset.kind == "few_shot":
        return {"version": FEW_SHOT_VERSION, "few_shot": to_builtins(FewShotConfig())}
    if dataset.kind == "fine_tuning":
        return {"version": VERSION, "fine_tuning": protocol.fine_tuning.build_record()}
    if dataset.kind != "retrieval":
        return {"version": VERSION}
    temperature = TEMPERATURE_RECORD if "validation" in splits else None
    return {"version": RETRIEVAL_VERSION, "temperature": temperature}


def _required_splits(dataset: Dataset) -> Splits:
    """Return the splits that all scores together need."""
    needed: Splits = ("test", "train", "validation")
    if dataset.kind == "retrieval":
        needed = ("test", "validation")
    elif dataset.kind in ("composition", "association"):
        needed = ("test",)
    return tuple(split for split in needed if split in dataset.splits)
