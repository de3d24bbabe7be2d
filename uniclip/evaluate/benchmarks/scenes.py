"""Benchmark `scenes`: what a model knows of pictures whose truth is known, attribute by attribute.

A minimal pair is a picture with its caption and a caption with one word changed; a model wins when
the true one scores higher, so chance is 0.5 whatever the number of values. Pairs are asked on the
plain test pictures and on damaged views of them, given the true augmentation vector, "nothing done"
(identity), and another sample's (wrong). Captions always tell what the plain picture shows. No
augmentation damages the shape: it is the negative control; `damaged` is the mean of all others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uniclip.config import RunConfig, ScenesData
from uniclip.config.binding import to_builtins
from uniclip.data.scenes.attributes import ATTRIBUTES, DAMAGEABLE_ATTRIBUTES
from uniclip.evaluate.protocols import protocol as protocols
from uniclip.evaluate.protocols.protocol import TEST_VIEWS_VERSION, VERSION

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel


def select_data_config(config: RunConfig) -> ScenesData:
    """The run's own scenes if it was trained on scenes (its deltas make the views), else default.

    What only training pictures and captions depend on is at its default: it is not evaluated.
    """
    if not isinstance(config.data, ScenesData):
        return ScenesData()
    default = ScenesData()
    return replace(
        config.data,
        num_train=default.num_train,
        caption_swap_prob=default.caption_swap_prob,
        attribute_dropout_prob=default.attribute_dropout_prob,
    )


def describe_missing(config: RunConfig) -> str | None:
    """Nothing: scenes are made by code."""
    return None


def build_protocol(source: ScenesData) -> dict[str, Any]:
    """The pictures; minimal pairs, caption and instance retrieval, calibration, modality gap."""
    embedding = {"features": "embedding", "version": VERSION}
    unseen_in_evaluation = f"never the evaluation's ({TEST_VIEWS_VERSION})"
    image_fields = ("size", "test", "delta", "scope")
    return {
        "pictures": {name: to_builtins(getattr(source, name)) for name in image_fields},
        "minimal": {
            "metric": "wins over all captions with one word changed; a tie is half a win",
            "attributes": {name: list(values) for name, values in ATTRIBUTES.items()},
            "views": ["plain", f"strong, {unseen_in_evaluation}"],
            "damaged": {"mean_over": list(DAMAGEABLE_ATTRIBUTES)},
            "vectors": ["true", "identity", "wrong: the next sample's"],
            **embedding,
        },
        "retrieval": {**protocols.RETRIEVAL_RECORD, "captions": "the one of each picture"},
        "caption": {"ece": "of the nearest of all captions, at the model's scale", **embedding},
        "instance": {
            "views": f"two weak ones, {unseen_in_evaluation}",
            **embedding,
        },
        "gap": {"metric": "distance of the modalities' mean embeddings", **embedding},
    }


def evaluate(pretrained: PretrainedModel, source: ScenesData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    from uniclip.evaluate.benchmarks import scenes_scores  # here: see the package

    return scenes_scores.evaluate(pretrained, source)
