"""Benchmark `csv`: the user's own test pictures. Retrieval, and the label where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import CsvData, RunConfig
from uniclip.errors import UserError
from uniclip.evaluate.protocols import protocol as protocols

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

TEMPLATES = ("a photo of a {}",)
LABEL = "label"


def select_data_config(config: RunConfig) -> CsvData:
    """The run's own data section if it is a CSV; else an empty one."""
    return config.data if isinstance(config.data, CsvData) else CsvData()


def describe_missing(config: RunConfig) -> str | None:
    """The benchmark is that of the run's own file."""
    if isinstance(config.data, CsvData):
        return None
    return "the csv benchmark judges runs of data=csv only; set data=csv data.path=<file>"


def build_protocol(source: CsvData) -> dict[str, Any]:
    """Retrieval; zero-shot and probe if there is a label column (its values name the classes)."""
    record: dict[str, Any] = {
        "shares": {"validation": source.validation_fraction, "test": source.test_fraction},
        "retrieval": {**protocols.RETRIEVAL_RECORD, "captions": "all"},
    }
    if source.label_column is not None:
        names = f"the values of column {source.label_column}"
        record["zeroshot"] = protocols.build_zero_shot_record(TEMPLATES, names)
        record["probe"] = protocols.build_probe_record()
    return record


def evaluate(pretrained: PretrainedModel, source: CsvData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    from uniclip.evaluate.features import split_features  # here: see the package
    from uniclip.evaluate.scoring import examples, labelled_split, retrieval
    from uniclip.evaluate.scoring.score_card import ScoreCard

    test = split_features.open_split_cached(source, "test")
    if not len(test):
        raise UserError(f"{source.path} has no test pictures; add rows or raise data.test")
    score_card = ScoreCard()
    labelled_split.add_ground_truth(score_card, test)
    image_text_pairs = retrieval.build_image_text_pairs(test.captions)
    image_features = split_features.compute_image_features(pretrained, test)
    images = split_features.project_features(pretrained, image_features)
    texts = pretrained.embed_texts(list(image_text_pairs.texts))
    retrieval.score_retrieval(score_card, images, texts, image_text_pairs)
    examples.add_examples(score_card, test, images, texts, image_text_pairs)
    if LABEL in test.labels:
        names = {c: (c,) for c in test.class_names[LABEL]}
        labelled_split.score_zero_shot(
            score_card, LABEL, pretrained, test, images, TEMPLATES, names
        )
        labelled_split.score_probe(score_card, LABEL, pretrained, source, test, image_features)
    return score_card.get_results()
