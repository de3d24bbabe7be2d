"""Benchmark `mix`: OpenMoji's, and zero-shot classification of the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import MixData, RunConfig
from uniclip.data.mix import source as mix
from uniclip.evaluate.benchmarks import openmoji
from uniclip.evaluate.protocols import protocol as protocols

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

LABEL = "digit"


def source(config: RunConfig) -> MixData:
    """The run's own data section if it is a mix; else the default."""
    return config.data if isinstance(config.data, MixData) else MixData()


def missing(config: RunConfig) -> str | None:
    """Nothing but the data itself."""
    return None


def protocol(source: MixData) -> dict[str, Any]:
    """OpenMoji's, and the digits' prompts."""
    stated = openmoji.protocol(mix.pairs(source))
    digits = protocols.zero_shot(mix.TEMPLATES, "the digits' English names")
    return {**stated, "zeroshot": {**stated["zeroshot"], LABEL: digits}}


def evaluate(pretrained: Pretrained, source: MixData) -> Any:
    """Scores and predictions on both test splits (see `uniclip.evaluate.evaluate`)."""
    from uniclip.data.mix import digits  # here: see the package
    from uniclip.evaluate.features import split_features
    from uniclip.evaluate.scoring import labelled_split
    from uniclip.evaluate.scoring.score_card import Sheet

    scores, predictions = openmoji.evaluate(pretrained, mix.pairs(source))
    if "digits" not in source.labels:
        return scores, predictions
    test = digits.open_split(source.size, "test", mix.TEMPLATES)
    sheet = Sheet()
    images = split_features.project(pretrained, split_features.trunk(pretrained, test))
    names = {name: (name,) for name in digits.NAMES}
    labelled_split.score_zero_shot(sheet, LABEL, pretrained, test, images, mix.TEMPLATES, names)
    more, outcomes = sheet.finished()
    return (*scores, *more), {**predictions, **outcomes}
