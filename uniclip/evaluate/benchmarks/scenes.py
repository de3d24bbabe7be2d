"""Benchmark `scenes`: what a model represents of images with known content, by attribute.

A minimal pair is an image with its caption and a caption with one word changed; a model wins when
the true caption scores higher, so chance is 0.5 whatever the number of values. Pairs are scored on
the plain test images and on damaged views of them, given the true augmentation vector, the
identity, or another sample's vector (wrong). Captions always describe the plain image. No
augmentation damages the shape: it is the negative control; `damaged` is the mean of all others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from uniclip.config import DataConfig, ScenesData
from uniclip.config.binding import to_builtins
from uniclip.data.scenes.attributes import ATTRIBUTES, DAMAGEABLE_ATTRIBUTES
from uniclip.evaluate.benchmarks.base import SourceBenchmark
from uniclip.evaluate.protocols.protocol import (
    RETRIEVAL_RECORD,
    RETRIEVAL_VERSION,
    TEST_VIEWS_VERSION,
    VERSION,
)

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.evaluate.benchmarks.base import Results

IMAGE_FIELDS = ("image_size", "num_test", "redraw_prob", "damaged_views")
"""Fields of the data section on which the test images depend."""


def build_benchmark(run_data: DataConfig) -> ScenesBenchmark:
    """Evaluate the run's data section if it is scenes (its deltas make the views), else default.

    What only training images and captions depend on is at its default: it is not evaluated.
    """
    default = ScenesData()
    if not isinstance(run_data, ScenesData):
        return ScenesBenchmark(default)
    return ScenesBenchmark(
        replace(
            run_data,
            num_train=default.num_train,
            caption_swap_prob=default.caption_swap_prob,
            attribute_dropout_prob=default.attribute_dropout_prob,
        )
    )


class ScenesBenchmark(SourceBenchmark[ScenesData]):
    """The test split of generated scenes, or the validation split."""

    scores_validation: ClassVar[bool] = True

    def describe_scores(self) -> dict[str, Any]:
        """The images; minimal pairs, caption and instance retrieval, calibration, modality gap."""
        embedding = {"features": "embedding", "version": VERSION}
        view_rule = f"never the evaluation transform ({TEST_VIEWS_VERSION})"
        return {
            "images": {name: to_builtins(getattr(self.data_config, name)) for name in IMAGE_FIELDS},
            "minimal": {
                "metric": "wins over all captions with one word changed; a tie is half a win",
                "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
                "views": ["plain", f"strong, {view_rule}"],
                "damaged": {"mean_over": list(DAMAGEABLE_ATTRIBUTES)},
                "conditions": ["true", "identity", "wrong: the next sample's"],
                **embedding,
            },
            "retrieval": {**RETRIEVAL_RECORD, "captions": "the one of each image"},
            "caption": {"ece": "of the nearest of all captions, at the model's scale", **embedding},
            "instance": {
                "views": f"two weak ones, {view_rule}",
                **embedding,
                "version": RETRIEVAL_VERSION,
            },
            "gap": {"metric": "distance of the modalities' mean embeddings", **embedding},
        }

    def evaluate(self, pretrained: PretrainedModel) -> Results:
        from uniclip.evaluate.benchmarks import scenes_scores  # here: it imports numpy

        return scenes_scores.score_scenes(pretrained, self.data_config, self.split)
