"""Benchmark `webdataset`: retrieval among the test pairs of the run's shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from uniclip import data
from uniclip.config import DataConfig, WebdatasetData
from uniclip.evaluate.benchmarks.base import UserDataBenchmark
from uniclip.evaluate.protocols.protocol import RETRIEVAL_RECORD

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

NOT_A_WEBDATASET_RUN = (
    "the webdataset benchmark evaluates runs of data=webdataset only; set data=webdataset "
    "data.path=<shards>"
)
NO_TEST_SAMPLES = "has no test samples; raise data.test_fraction"


def build_benchmark(run_data: DataConfig) -> WebdatasetBenchmark:
    """Evaluate the run's data section if its data are shards; there is no default."""
    return WebdatasetBenchmark(run_data if isinstance(run_data, WebdatasetData) else None)


class WebdatasetBenchmark(UserDataBenchmark[WebdatasetData]):
    """The test split of a run's shards."""

    other_data: ClassVar[str] = NOT_A_WEBDATASET_RUN

    def describe_missing(self) -> str | None:
        """Return what to do if there are no shards or no test samples."""
        if self.data_config is None:
            return NOT_A_WEBDATASET_RUN
        if not self.data_config.test_fraction:
            return f"{self.data_config.path} {NO_TEST_SAMPLES}"
        return data.describe_missing(self.data_config)

    def build_protocol(self) -> dict[str, Any]:
        """Retrieval; raises `UserError` if a shard is missing."""
        config = self.config
        labelled = ("labelled", "labelled_content")
        pairs = {k: v for k, v in data.fingerprint(config).items() if k not in labelled}
        return {
            "data": pairs,  # labelled images are for training alone
            "shares": {"validation": config.validation_fraction, "test": config.test_fraction},
            "max_samples": config.max_held_out,
            **({"min_side": config.min_side} if config.min_side else {}),
            "retrieval": {**RETRIEVAL_RECORD, "captions": "all", "equal": "with equal tokens"},
        }

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        return self.score_test_split(pretrained, f"{self.config.path} {NO_TEST_SAMPLES}")
