"""Benchmark `csv`: the user's test images. Retrieval, and the label where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uniclip import data
from uniclip.config import CsvData, DataConfig
from uniclip.data.csv import source
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

TEST_IMAGES_HINT = "add rows, raise data.test_fraction, or name a table of them in data.test_path"
NOT_A_CSV_RUN = "the csv benchmark evaluates runs of data=csv only; set data=csv data.path=<file>"


def build_benchmark(run_data: DataConfig) -> CsvBenchmark:
    """Evaluate the run's data section if it is a CSV; there is no default."""
    return CsvBenchmark(run_data if isinstance(run_data, CsvData) else None)


class CsvBenchmark(UserDataBenchmark[CsvData]):
    """The test split of a run's table."""

    other_data: ClassVar[str] = NOT_A_CSV_RUN

    def describe_missing(self) -> str | None:
        """Return what to do if there is no table or no test image; raises `UserError` as it."""
        if self.data_config is None:
            return NOT_A_CSV_RUN
        missing = data.describe_missing(self.data_config)
        if missing is None and not source.has_test_images(self.data_config):
            return f"{self.data_config.path} has no test images; {TEST_IMAGES_HINT}"
        return missing

    def build_protocol(self) -> dict[str, Any]:
        """Retrieval; zero-shot and probe if there is a label column, whose values name the classes.

        Raises `UserError` if the table cannot be read.
        """
        config = self.config
        record: dict[str, Any] = {
            "data": data.fingerprint(config),
            "shares": {"validation": config.validation_fraction, "test": config.test_fraction},
            **({"split_column": config.split_column} if config.split_column else {}),
            "retrieval": {**RETRIEVAL_RECORD, "captions": "all", "equal": "with equal tokens"},
        }
        if config.label_column is not None:
            names = f"the values of column {config.label_column}"
            record["zeroshot"] = build_zero_shot_record(USER_TEMPLATES, names)
            record["probe"] = build_probe_record()
        return record

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        hint = f"{self.config.path} has no test images; {TEST_IMAGES_HINT}"
        return self.score_test_split(pretrained, hint)
