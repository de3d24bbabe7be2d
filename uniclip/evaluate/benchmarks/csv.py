"""Benchmark `csv`: the user's own test pictures. Retrieval, and the label where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import CsvData, RunConfig
from uniclip.errors import UserError
from uniclip.evaluate.protocols import protocol as protocols

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

TEMPLATES = ("a photo of a {}",)
LABEL = "label"


def source(config: RunConfig) -> CsvData:
    """The run's own data section if it is a CSV; else an empty one."""
    return config.data if isinstance(config.data, CsvData) else CsvData()


def missing(config: RunConfig) -> str | None:
    """The benchmark is that of the run's own file."""
    if isinstance(config.data, CsvData):
        return None
    return "the csv benchmark judges runs of data=csv only; set data=csv data.path=<file>"


def protocol(source: CsvData) -> dict[str, Any]:
    """Retrieval; zero-shot and probe if there is a label column (its values name the classes)."""
    stated: dict[str, Any] = {
        "shares": {"validation": source.validation, "test": source.test},
        "retrieval": {**protocols.RETRIEVAL, "captions": "all"},
    }
    if source.label is not None:
        names = f"the values of column {source.label}"
        stated["zeroshot"] = protocols.zero_shot(TEMPLATES, names)
        stated["probe"] = protocols.probe()
    return stated


def evaluate(pretrained: Pretrained, source: CsvData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    from uniclip.evaluate.features import split_features  # here: see the package
    from uniclip.evaluate.scoring import examples, labelled_split, retrieval
    from uniclip.evaluate.scoring.score_card import Sheet

    test = split_features.opened(source, "test")
    if not len(test):
        raise UserError(f"{source.path} has no test pictures; add rows or raise data.test")
    sheet = Sheet()
    labelled_split.keep_truth(sheet, test)
    relation = retrieval.relate(test.captions)
    seen = split_features.trunk(pretrained, test)
    images = split_features.project(pretrained, seen)
    texts = pretrained.embed_texts(list(relation.texts))
    retrieval.score(sheet, images, texts, relation)
    examples.keep(sheet, test, images, texts, relation)
    if LABEL in test.labels:
        names = {c: (c,) for c in test.classes[LABEL]}
        labelled_split.score_zero_shot(sheet, LABEL, pretrained, test, images, TEMPLATES, names)
        labelled_split.score_probe(sheet, LABEL, pretrained, source, test, seen)
    return sheet.finished()
