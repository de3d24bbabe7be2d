"""Probes of a few training images, and nearest neighbors, on frozen features.

    fewshot.4    accuracy of a linear probe fitted to 4 training images of each class
    knn          accuracy of the weighted vote of the nearest training images

Which images are drawn depends on their ids, the data set and the number of the draw alone, so that
every model is fitted to the same ones. A class with fewer images has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from uniclip import rng
from uniclip.config.binding import to_builtins
from uniclip.evaluate import metrics
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.metrics import Float, Int, Numbers
from uniclip.evaluate.protocols.protocol import FewShotConfig, LinearProbeConfig
from uniclip.evaluate.scoring import linear_probe, nearest_neighbors
from uniclip.evaluate.scoring.linear_probe import LabelledFeatures
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression
from uniclip.evaluate.scoring.score_card import ScoreCard

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

PURPOSE = "few shots"
"""Purpose of the random numbers."""


def rank_by_draw(dataset_name: str, ids: Sequence[str], labels: Int, draw: int) -> Int:
    """Return the place of each image within its class in a random order, (n,) int64 from 0.

    Args:
        dataset_name: Name of the data set, on which the order depends.
        ids: n ids of images.
        labels: (n,) int64 classes.
        draw: Number of the draw.
    """
    key = rng.derive_key(PURPOSE, dataset_name, draw)
    words = rng.draw_words(key, np.array([rng.hash_sample_id(i) for i in ids], np.uint64), 2)
    order = np.lexsort((words[:, 1], words[:, 0], labels))
    sizes = np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts[labels[order]]
    return ranks


@dataclass(frozen=True)
class RankedImages:
    """The features and labels of a split, and the order in which its images are drawn."""

    data: LabelledFeatures
    ranks: Int
    """(draws, n) of `rank_by_draw`."""

    def select(self, draw: int, per_class: int) -> LabelledFeatures:
        """Return the first images of each class of a draw."""
        index = np.flatnonzero(self.ranks[draw] < per_class)
        return LabelledFeatures(self.data.features[index], self.data.labels[index])


def rank_images(
    dataset_name: str, ids: Sequence[str], data: LabelledFeatures, config: FewShotConfig
) -> RankedImages:
    """Return a split with the orders of all draws."""
    ranks = [rank_by_draw(dataset_name, ids, data.labels, draw) for draw in range(config.draws)]
    return RankedImages(data, np.stack(ranks))


def compute_probe_outcomes(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    test: LabelledFeatures,
    num_classes: int,
    probe_config: LinearProbeConfig,
    should_stop: Callable[[], bool] = lambda: False,
) -> Float:
    """Return whether a probe of a few images is right on each test image, (n,) in [0, 1]."""
    result = linear_probe.fit_protocol_probe(
        train,
        validation,
        num_classes,
        probe_config,
        FewShotConfig.metric,
        lambda data, classes: LogisticRegression(data.features, data.labels, classes, should_stop),
        train_tolerance=FewShotConfig.tolerance,
    )
    scaled_features = linear_probe.scale_features(test.features, probe_config)
    return metrics.top_k_correct(result.probe.decision_function(scaled_features), test.labels)


@dataclass(frozen=True)
class FewShotScorer:
    """Scores one model on one data set; each result is cached as soon as it is there."""

    load: Callable[[SplitName], RankedImages]
    """Embeds the training or validation split, once something is not cached."""
    test: LabelledFeatures
    num_classes: int
    probe_config: LinearProbeConfig
    config: FewShotConfig
    cache: Cache
    cache_key: Mapping[str, Any]
    """Everything that the features and labels of the three splits depend on."""
    should_stop: Callable[[], bool] = lambda: False

    @cached_property
    def _train(self) -> RankedImages:
        return self.load("train")

    @cached_property
    def _validation(self) -> RankedImages:
        return self.load("validation")

    def add_scores(self, score_card: ScoreCard) -> None:
        """Add `fewshot.<k>` for each k, the accuracies of its draws, and `knn`."""
        chance = 1 / self.num_classes
        for shots in self.config.shots:
            outcomes = np.stack(
                [
                    self._get_outcomes(
                        {"shots": shots, "draw": draw}, partial(self._score_draw, shots, draw)
                    )
                    for draw in range(self.config.draws)
                ]
            )
            name = f"fewshot.{shots}"
            score_card.add_outcomes(name, outcomes.mean(axis=0), kind="accuracy", chance=chance)
            score_card.add_array(f"{name}.draws", outcomes.mean(axis=1))
        outcome = self._get_outcomes({"neighbors": self.config.neighbors}, self._score_neighbors)
        score_card.add_outcomes("knn", outcome, kind="accuracy", chance=chance)

    def _get_outcomes(self, key: Mapping[str, Any], compute: Callable[[], Float]) -> Float:
        """Return outcomes (n,) float64 from the cache, or compute them."""
        whole_key = {
            **self.cache_key,
            "few_shot": to_builtins(self.config),
            "linear_probe": to_builtins(self.probe_config),
            **key,
        }
        arrays = self.cache.get_or_compute(whole_key, lambda: {"outcome": compute()})
        return np.asarray(arrays["outcome"], np.float64)

    def _score_draw(self, shots: int, draw: int) -> Float:
        return compute_probe_outcomes(
            self._train.select(draw, shots),
            self._validation.select(draw, min(shots, self.config.max_validation_shots)),
            self.test,
            self.num_classes,
            self.probe_config,
            self.should_stop,
        )

    def _score_neighbors(self) -> Float:
        keys: Numbers = np.concatenate([self._train.data.features, self._validation.data.features])
        votes = nearest_neighbors.count_votes(
            self.test.features,
            keys,
            np.concatenate([self._train.data.labels, self._validation.data.labels]),
            self.num_classes,
            self.config.neighbors,
            self.config.neighbor_temperature,
            self.should_stop,
        )
        return metrics.top_k_correct(votes, self.test.labels)
