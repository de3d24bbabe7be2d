"""A published data set as a benchmark: zero-shot and linear probe, or retrieval, by a protocol.

`uniclip.evaluate.datasets` reads the pictures, `protocols` says how they are judged, `scoring`
shows them to a model. A set that is not under `runtime.data_root` is missing, with the line that
says how to get it; the others go on without it. A set of which there are test pictures alone
(ImageNet is often kept so) is judged without a probe. A set that is gone, but whose index is in the
cache, is not missing: models whose embeddings are there too are scored again without pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip import identity
from uniclip.config import RunConfig
from uniclip.config.binding import to_builtins
from uniclip.data.split import SplitName
from uniclip.evaluate import datasets
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.protocols import custom
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.protocols.protocol import Protocol
from uniclip.io.atomic import resolve_staged_path

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

NOTED_FIELDS = ("kind", "files", "held_out", "templates")
"""What is read off the user's own folder, and noted for when it is gone."""


@dataclass(frozen=True)
class EvaluationSource:
    """Where the sets are, and by which protocol they are judged."""

    root: str
    protocol: Protocol


@dataclass(frozen=True)
class PublishedBenchmark:
    """The benchmark of one data set; its functions are those of every benchmark."""

    name: str
    cache: Cache = field(default_factory=Cache)
    should_stop: Callable[[], bool] = lambda: False
    """Asked on the way; `Stopped` is raised where it says so."""

    def select_data_config(self, config: RunConfig) -> EvaluationSource:
        """What the run says of it; nothing of it is hashed."""
        root = str(resolve_staged_path(config.runtime.data_root))
        return EvaluationSource(root, custom.build_protocol(config.runtime.protocol))

    def describe_missing(self, config: RunConfig) -> str | None:
        """What of the test part is not there, and how to get it."""
        source = self.select_data_config(config)
        dataset = self.resolve_dataset(source)
        missing_reason = dataset.describe_missing(source.root, ("test",))
        return (
            None if missing_reason is None or self._read_note(source, dataset) else missing_reason
        )

    def describe_missing_probe_data(self, config: RunConfig) -> str | None:
        """What a linear probe lacks where zero-shot classification does not."""
        source = self.select_data_config(config)
        dataset = self.resolve_dataset(source)
        required_splits = _required_splits(dataset)
        if self._resolve_splits(source, dataset)[0] == required_splits:
            return None
        return dataset.describe_missing(source.root, required_splits)

    def build_protocol(self, source: EvaluationSource) -> dict[str, Any]:
        """All that a score depends on besides the model; opens no picture."""
        dataset = self.resolve_dataset(source)
        dataset_rules = _with_dataset_templates(source, dataset)
        splits, fingerprint = self._resolve_splits(source, dataset)
        has_probe = dataset.kind != "retrieval" and splits == _required_splits(dataset)
        return {
            "protocol": dataset_rules.name,
            "data": fingerprint,
            "metric": dataset_rules.get_metric(self.name),
            "templates": list(dataset_rules.get_templates(self.name)),
            "names": identity.digest(dataset_rules.get_class_name_entry(self.name)),
            "transform": to_builtins(dataset_rules.preprocessing),
            "probing": to_builtins(dataset_rules.probe_config) if has_probe else None,
            "difficult": dataset_rules.difficult_objects,
            "departs": list(dataset_rules.deviations),
            "version": protocols.VERSION,
        }

    def evaluate(self, pretrained: PretrainedModel, source: EvaluationSource) -> Any:
        """Scores and predictions on the test part (see `uniclip.evaluate.evaluate`)."""
        from uniclip.evaluate.scoring import published
        from uniclip.evaluate.scoring.embeddings import CachedEncoder
        from uniclip.evaluate.scoring.score_card import ScoreCard

        dataset = self.resolve_dataset(source)
        split_names, fingerprint = self._resolve_splits(source, dataset)
        splits = published.DatasetSplits(dataset, source.root, split_names, fingerprint, self.cache)
        score_card = ScoreCard()
        dataset_rules = _with_dataset_templates(source, dataset)
        features_cached = published.score_dataset(
            score_card,
            CachedEncoder(pretrained, self.cache, self.should_stop),
            dataset_rules,
            splits,
        )
        if features_cached:
            dataset_note = {
                "parts": split_names,
                **{name: to_builtins(getattr(dataset, name)) for name in NOTED_FIELDS},
            }
            self.cache.write_note(
                self._note_name(source, dataset), {"data": fingerprint, **dataset_note}
            )
        return score_card.get_results()

    def resolve_dataset(self, source: EvaluationSource) -> Dataset:
        """The set as the protocol tests it; as it was last seen where the user's own is gone."""
        dataset = datasets.get(self.name)
        if self.name in source.protocol.test_on_all:
            return dataset.with_all_as_test()
        if dataset.user_folder is None or dataset.user_folder.exists():
            return dataset
        dataset_note = self._read_note(source, dataset)
        if dataset_note is None:
            return dataset
        files = {split: tuple(names) for split, names in dataset_note["files"].items()}
        templates = tuple(dataset_note.get("templates", ()))
        return replace(dataset, files=files, held_out=dataset_note["held_out"], templates=templates)

    def _resolve_splits(
        self, source: EvaluationSource, dataset: Dataset
    ) -> tuple[tuple[SplitName, ...], dict[str, Any]]:
        """The parts that scores are of, and the data's fingerprint: as it is or, where some of it
        is gone, as it was when it was last evaluated; with no training pictures, of the test part.
        """
        required_splits, dataset_note = _required_splits(dataset), self._read_note(source, dataset)
        test_is_missing = dataset.describe_missing(source.root, ("test",)) is not None
        if (test_is_missing and dataset_note is None) or dataset.describe_missing(
            source.root, required_splits
        ) is None:
            return required_splits, dataset.fingerprint(source.root, required_splits)
        test_fingerprint = dataset.fingerprint(source.root, ("test",))
        if (
            dataset_note
            and test_fingerprint["files"].items() <= dataset_note["data"]["files"].items()
        ):
            return tuple(dataset_note.get("parts", required_splits)), dataset_note["data"]
        return ("test",), test_fingerprint

    def _read_note(self, source: EvaluationSource, dataset: Dataset) -> dict[str, Any] | None:
        dataset_note = self.cache.read_note(self._note_name(source, dataset)) or {}
        return dataset_note if dataset_note.get("kind") == dataset.kind else None

    def _note_name(self, source: EvaluationSource, dataset: Dataset) -> str:
        root = str(Path(source.root).absolute())
        return identity.digest([self.name, root, dataset.split_rule])


def _with_dataset_templates(source: EvaluationSource, dataset: Dataset) -> Protocol:
    """The protocol, with the templates that lie with the pictures where the user has none."""
    custom_templates = source.protocol.custom_templates
    if not dataset.templates or {dataset.name, protocols.DEFAULT_DATASET} & set(custom_templates):
        return source.protocol
    return replace(
        source.protocol, custom_templates={**custom_templates, dataset.name: dataset.templates}
    )


def _required_splits(dataset: Dataset) -> tuple[SplitName, ...]:
    """The parts that all scores together need."""
    if dataset.kind == "retrieval":
        return ("test",)
    all_splits: tuple[SplitName, ...] = ("test", "train", "validation")
    return tuple(split for split in all_splits if split in dataset.splits)
