"""Benchmark `huggingface`: the test images of the run's data set. Retrieval, and the label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uniclip import data
from uniclip.config import DataConfig, HuggingfaceData
from uniclip.data.huggingface.folder import list_files
from uniclip.evaluate.benchmarks.base import UserDataBenchmark
from uniclip.evaluate.protocols.protocol import (
    RETRIEVAL_RECORD,
    USER_TEMPLATES,
    build_probe_record,
    build_zero_shot_record,
)

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

NOT_A_HUGGINGFACE_RUN = (
    "the huggingface benchmark evaluates runs of data=huggingface only; set data=huggingface "
    "data.path=<folder>"
)
NO_TEST_SAMPLES = "has no test samples; raise data.test_fraction"
SELECTION_KEYS = ("image_column", "caption_column", "key_column")
"""Keys that, where they are set, change what is evaluated."""


def build_benchmark(run_data: DataConfig) -> HuggingfaceBenchmark:
    """Evaluate the run's data section if it is such a data set; there is no default."""
    return HuggingfaceBenchmark(run_data if isinstance(run_data, HuggingfaceData) else None)


class HuggingfaceBenchmark(UserDataBenchmark[HuggingfaceData]):
    """The test split of a run's data set."""

    other_data: ClassVar[str] = NOT_A_HUGGINGFACE_RUN

    def describe_missing(self) -> str | None:
        """Return what to do if there are no files or no test samples."""
        if self.data_config is None:
            return NOT_A_HUGGINGFACE_RUN
        missing = data.describe_missing(self.data_config)
        if missing is None and not self.data_config.test_fraction:
            if "test" not in list_files(self.data_config.path).declared_splits:
                return f"{self.data_config.path} {NO_TEST_SAMPLES}"
        return missing

    def build_protocol(self) -> dict[str, Any]:
        """Retrieval; zero-shot and probe if there is a label column, whose values name the classes.

        Raises `UserError` if a file is missing.
        """
        config = self.config
        keys = {key: getattr(config, key) for key in SELECTION_KEYS}
        record: dict[str, Any] = {
            "data": data.fingerprint(config),
            "shares": {"validation": config.validation_fraction, "test": config.test_fraction},
            "max_samples": config.max_held_out,
            **{key: value for key, value in keys.items() if value is not None},
            "retrieval": {**RETRIEVAL_RECORD, "captions": "all", "equal": "with equal tokens"},
        }
        if config.label_column is not None:
            names = f"the values of column {config.label_column}"
            record["label_templates"] = config.label_templates
            record["zeroshot"] = build_zero_shot_record(USER_TEMPLATES, names)
            record["probe"] = build_probe_record()
        return record

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        return self.score_test_split(pretrained, f"{self.config.path} {NO_TEST_SAMPLES}")
