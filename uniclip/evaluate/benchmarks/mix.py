"""Benchmark `mix`: the scores of OpenMoji, and zero-shot classification of the digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uniclip.config import DataConfig, MixData
from uniclip.data.mix.templates import PROMPT_TEMPLATES, build_pairs_config
from uniclip.evaluate.benchmarks.base import SourceBenchmark
from uniclip.evaluate.benchmarks.openmoji import OpenmojiBenchmark
from uniclip.evaluate.protocols.protocol import build_zero_shot_record

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

LABEL = "digit"


def build_benchmark(run_data: DataConfig) -> MixBenchmark:
    """Evaluate the run's data section if it is a mix; else the default mix."""
    return MixBenchmark(run_data if isinstance(run_data, MixData) else MixData())


class MixBenchmark(SourceBenchmark[MixData]):
    """The test splits of both sources of the mix."""

    def describe_scores(self) -> dict[str, Any]:
        """OpenMoji's, and the prompts of the digits."""
        record = self._openmoji().describe_scores()
        digits = build_zero_shot_record(PROMPT_TEMPLATES, "the digits' English names")
        return {**record, "zeroshot": {**record["zeroshot"], LABEL: digits}}

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        from uniclip.data.mix import digits  # here: it imports numpy
        from uniclip.evaluate.features import split_features
        from uniclip.evaluate.scoring import labelled_split
        from uniclip.evaluate.scoring.score_card import ScoreCard

        scores, predictions = self._openmoji().evaluate(pretrained)
        if "digits" not in self.data_config.label_sources:
            return scores, predictions
        test = digits.open_split(self.data_config.image_size, "test", PROMPT_TEMPLATES)
        score_card = ScoreCard()
        image_features = split_features.compute_image_features(pretrained, test)
        images = split_features.project_features(pretrained, image_features)
        names = {name: (name,) for name in digits.DIGIT_NAMES}
        labelled_split.score_zero_shot(
            score_card, LABEL, pretrained, test, images, PROMPT_TEMPLATES, names
        )
        digit_scores, digit_predictions = score_card.get_results()
        return (*scores, *digit_scores), {**predictions, **digit_predictions}

    def _openmoji(self) -> OpenmojiBenchmark:
        return OpenmojiBenchmark(build_pairs_config(self.data_config))
