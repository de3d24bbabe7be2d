"""Benchmark `mix`: OpenMoji's, and zero-shot classification of the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import MixData, RunConfig
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config
from uniclip.evaluate.benchmarks import openmoji
from uniclip.evaluate.protocols import protocol as protocols

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

LABEL = "digit"


def select_data_config(config: RunConfig) -> MixData:
    """The run's own data section if it is a mix; else the default."""
    return config.data if isinstance(config.data, MixData) else MixData()


def describe_missing(config: RunConfig) -> str | None:
    """Nothing but the data itself."""
    return None


def build_protocol(source: MixData) -> dict[str, Any]:
    """OpenMoji's, and the digits' prompts."""
    record = openmoji.build_protocol(build_pairs_config(source))
    digits = protocols.build_zero_shot_record(PROMPT_TEMPLATES, "the digits' English names")
    return {**record, "zeroshot": {**record["zeroshot"], LABEL: digits}}


def evaluate(pretrained: PretrainedModel, source: MixData) -> Any:
    """Scores and predictions on both test splits (see `uniclip.evaluate.evaluate`)."""
    from uniclip.data.mix import digits  # here: see the package
    from uniclip.evaluate.features import split_features
    from uniclip.evaluate.scoring import labelled_split
    from uniclip.evaluate.scoring.score_card import ScoreCard

    scores, predictions = openmoji.evaluate(pretrained, build_pairs_config(source))
    if "digits" not in source.label_sources:
        return scores, predictions
    test = digits.open_split(source.image_size, "test", PROMPT_TEMPLATES)
    score_card = ScoreCard()
    images = split_features.project_features(
        pretrained, split_features.compute_image_features(pretrained, test)
    )
    names = {name: (name,) for name in digits.DIGIT_NAMES}
    labelled_split.score_zero_shot(
        score_card, LABEL, pretrained, test, images, PROMPT_TEMPLATES, names
    )
    digit_scores, digit_predictions = score_card.get_results()
    return (*scores, *digit_scores), {**predictions, **digit_predictions}
