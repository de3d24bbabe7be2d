"""Scores of one model on one published data set by a protocol: what needs pictures, and in what
order.

A part's index is read, and its pictures are embedded, only where the cache lacks what follows from
them: a probe that is kept needs no training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.config.binding import to_builtins
from uniclip.data.split import SplitName
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import cached_index
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import DatasetProtocol, Protocol
from uniclip.evaluate.scoring import classification, linear_probe, probe_cache, retrieval, zero_shot
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.linear_probe import LinearProbeResult
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression
from uniclip.evaluate.scoring.probe_cache import ProbeFitCache
from uniclip.evaluate.scoring.score_card import ScoreCard

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class DatasetSplits:
    """A data set's parts, as they are (or were) under `root`."""

    dataset: Dataset
    root: str
    split_names: tuple[SplitName, ...]
    fingerprint: Mapping[str, Any]
    """The data set's fingerprint."""
    cache: Cache

    def open(self, split: SplitName) -> ImageDataset:
        """One part; its pictures may be gone."""
        return cached_index.open_with_cached_index(
            self.dataset, self.root, split, self.fingerprint, self.cache
        )


def score_dataset(
    score_card: ScoreCard, encoder: CachedEncoder, protocol: Protocol, splits: DatasetSplits
) -> bool:
    """Put the scores of a data set on the sheet, and the ids of its samples (n,) uint64.

    Whether the model's features of the test pictures are kept.
    """
    test = splits.open("test")
    dataset_protocol = protocol.for_dataset(splits.dataset.name, test.classes)
    score_card.add_array("ids", np.array([rng.hash_sample_id(i) for i in test.ids], np.uint64))
    image_features = encoder.compute_image_features(
        splits.fingerprint, test, dataset_protocol.preprocessing
    )
    if splits.dataset.kind == "retrieval":
        _score_retrieval(score_card, encoder, dataset_protocol, test, image_features)
    else:
        _score_classification(score_card, encoder, dataset_protocol, splits, test, image_features)
    encoder.remove_partial_features(splits.fingerprint, test, dataset_protocol.preprocessing)
    return isinstance(image_features, np.memmap)


def _score_classification(
    score_card: ScoreCard,
    encoder: CachedEncoder,
    dataset_protocol: DatasetProtocol,
    splits: DatasetSplits,
    test: ImageDataset,
    image_features: Float32,
) -> None:
    """Zero-shot, and a linear probe where there is something to fit it to."""
    assert test.labels is not None
    images = split_features.project_features(encoder.pretrained, image_features)
    score_card.add_array("labels", test.labels.astype(np.int16))
    truth = classification.build_ground_truth(
        test.labels, test.classes, test.difficult, dataset_protocol
    )
    classifier = encoder.build_classifier(classification.build_prompts(dataset_protocol))
    logit_scale = encoder.pretrained.image_text_scale()
    classification.score_zero_shot(
        score_card, dataset_protocol, images, classifier, truth, logit_scale
    )
    if dataset_protocol.probe_config is not None and {"train", "validation"} <= set(
        splits.split_names
    ):
        probe_result = _fit_probe_cached(encoder, dataset_protocol, splits, len(test.classes))
        rows = image_features if dataset_protocol.probe_config.features == "trunk" else images
        classification.score_probe(score_card, dataset_protocol, probe_result, rows, truth)


def _score_retrieval(
    score_card: ScoreCard,
    encoder: CachedEncoder,
    dataset_protocol: DatasetProtocol,
    test: ImageDataset,
    image_features: Float32,
) -> None:
    """Captions for pictures and pictures for captions."""
    images = split_features.project_features(encoder.pretrained, image_features)
    image_text_pairs = retrieval.build_image_text_pairs(test.captions)
    (template,) = dataset_protocol.templates
    texts = encoder.embed_texts(
        [zero_shot.fill_template(template, caption) for caption in image_text_pairs.texts]
    )
    retrieval.score_retrieval(score_card, images, texts, image_text_pairs, tie=0)


def _fit_probe_cached(
    encoder: CachedEncoder,
    dataset_protocol: DatasetProtocol,
    splits: DatasetSplits,
    num_classes: int,
) -> LinearProbeResult:
    """The probe by training and validation pictures, kept by all that it depends on."""
    probe_config, metric = dataset_protocol.probe_config, dataset_protocol.metric
    assert probe_config is not None

    def extract_split(split: SplitName) -> linear_probe.LabelledFeatures:
        dataset = splits.open(split)
        assert dataset.labels is not None
        image_features = encoder.compute_image_features(
            splits.fingerprint, dataset, dataset_protocol.preprocessing
        )
        cleanups.append(
            partial(
                encoder.remove_partial_features,
                splits.fingerprint,
                dataset,
                dataset_protocol.preprocessing,
            )
        )
        if probe_config.features == "embedding":
            image_features = split_features.project_features(encoder.pretrained, image_features)
        truth = classification.build_ground_truth(
            dataset.labels, dataset.classes, dataset.difficult, dataset_protocol
        )
        return linear_probe.LabelledFeatures(image_features, truth.labels)

    def compute() -> dict[str, NDArray[Any]]:
        probe_result = linear_probe.fit_protocol_probe(
            extract_split("train"),
            extract_split("validation"),
            num_classes,
            probe_config,
            metric,
            build_fitter,
        )
        return {
            **probe_cache.fit_to_arrays(probe_result.probe),
            "chosen": np.array([probe_result.protocol_l2, probe_result.validation_score]),
        }

    def build_fitter(
        labelled_features: linear_probe.LabelledFeatures, num_classes: int
    ) -> ProbeFitCache:
        regression = LogisticRegression(
            labelled_features.features, labelled_features.labels, num_classes, encoder.should_stop
        )
        fitter = ProbeFitCache(
            regression, encoder.cache, {**key, "of": len(labelled_features.labels)}
        )
        cleanups.append(fitter.remove_cached_fits)
        return fitter

    cleanups: list[Callable[[], None]] = []
    key = {
        **encoder.build_feature_key(
            splits.fingerprint, "train, validation", dataset_protocol.preprocessing
        ),
        "probing": to_builtins(probe_config),
        "metric": metric,
        "difficult": dataset_protocol.difficult_objects,
        "form": probe_cache.FORMAT_VERSION,
    }
    arrays = encoder.cache.get_or_compute(key, compute)
    for cleanup in cleanups:
        cleanup()
    protocol_l2, validation_score = arrays["chosen"].tolist()
    return LinearProbeResult(probe_cache.fit_from_arrays(arrays), protocol_l2, validation_score)
