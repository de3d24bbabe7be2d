"""Benchmark `csv`: the user's test images. Retrieval, and the label where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uniclip import data
from uniclip.config import CsvData, DataConfig
from uniclip.data.csv import source
from uniclip.errors import UserError
from uniclip.evaluate.benchmarks.base import Benchmark
from uniclip.evaluate.protocols.protocol import (
    RETRIEVAL_RECORD,
    build_probe_record,
    build_zero_shot_record,
)

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

TEMPLATES = ("a photo of a {}",)
LABEL = "label"
TEST_IMAGES_HINT = "add rows, raise data.test_fraction, or name a table of them in data.test_path"
NOT_A_CSV_RUN = "the csv benchmark evaluates runs of data=csv only; set data=csv data.path=<file>"


def build_benchmark(run_data: DataConfig) -> CsvBenchmark:
    """Evaluate the run's data section if it is a CSV; there is no default."""
    return CsvBenchmark(run_data if isinstance(run_data, CsvData) else None)


@dataclass(frozen=True)
class CsvBenchmark(Benchmark):
    """The test split of a run's table."""

    data_config: CsvData | None

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
        config = self._require_data()
        record: dict[str, Any] = {
            "data": data.fingerprint(config),
            "shares": {"validation": config.validation_fraction, "test": config.test_fraction},
            **({"split_column": config.split_column} if config.split_column else {}),
            "retrieval": {**RETRIEVAL_RECORD, "captions": "all", "equal": "with equal tokens"},
        }
        if config.label_column is not None:
            names = f"the values of column {config.label_column}"
            record["zeroshot"] = build_zero_shot_record(TEMPLATES, names)
            record["probe"] = build_probe_record()
        return record

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        config = self._require_data()
        hint = f"{config.path} has no test images; {TEST_IMAGES_HINT}"
        return score_test_split(pretrained, config, hint)

    def _require_data(self) -> CsvData:
        if self.data_config is None:
            raise UserError(NOT_A_CSV_RUN)
        return self.data_config


def score_test_split(pretrained: PretrainedModel, config: DataConfig, missing: str) -> Results:
    """Return retrieval scores on the test split of the user's data, and those of its label.

    Args:
        pretrained: The model.
        config: The data section.
        missing: What to say if there are no test images.

    Raises:
        UserError: There are none.
    """
    from uniclip.evaluate.features import split_features  # here: it imports numpy
    from uniclip.evaluate.scoring import (
        examples,
        labelled_split,
        retrieval,
        retrieval_scores,
        temperature,
    )
    from uniclip.evaluate.scoring.score_card import ScoreCard

    test = split_features.open_split_cached(config, "test")
    if not len(test):
        raise UserError(missing)
    score_card = ScoreCard()
    labelled_split.add_ground_truth(score_card, test)
    encode = pretrained.tokenizer.encode_uncut
    image_text_pairs = retrieval.build_image_text_pairs(test.captions, encode)
    image_features = split_features.compute_image_features(pretrained, test)
    images = split_features.project_features(pretrained, image_features)
    texts = pretrained.embed_texts(list(image_text_pairs.texts))
    retrieval_scores.score_retrieval(
        score_card,
        images,
        texts,
        image_text_pairs,
        temperature.fit_validation_temperature(pretrained, config, encode),
    )
    examples.add_examples(score_card, test, images, texts, image_text_pairs)
    if LABEL in test.labels:
        names = {c: (c,) for c in test.class_names[LABEL]}
        labelled_split.score_zero_shot(
            score_card, LABEL, pretrained, test, images, TEMPLATES, names
        )
        labelled_split.score_probe(score_card, LABEL, pretrained, config, test, image_features)
    return score_card.get_results()
