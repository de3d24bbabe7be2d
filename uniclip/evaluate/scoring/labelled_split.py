"""Zero-shot classification and linear probes on labelled splits of training sources.

A split may have several label sets (skin tone, category); an image without a label in one (-1) is
excluded from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.features import split_features
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.outcome_clusters import CLUSTER_ARRAY
from uniclip.evaluate.scoring import linear_probe, zero_shot
from uniclip.evaluate.scoring.score_card import ScoreCard

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data import Split
    from uniclip.evaluate.features.shares import FeatureShares


def score_zero_shot(
    score_card: ScoreCard,
    label: str,
    pretrained: PretrainedModel,
    split: Split,
    images: Numbers,
    templates: Sequence[str],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Add zeroshot.<label>, if a test image has that label.

    images: (n, D) unit rows of the split. names: the prompt names of each class of the label.
    """
    rows = np.flatnonzero(split.labels[label] >= 0)
    if not len(rows):
        return
    classes, labels = split.class_names[label], split.labels[label][rows]
    prompts = [
        zero_shot.fill_templates(templates, n) for n in zero_shot.order_class_names(names, classes)
    ]
    classifier = zero_shot.build_classifier(pretrained.embed_texts, prompts)
    result = zero_shot.classify(images[rows], classifier, labels, pretrained.image_text_scale())
    zero_shot.add_zero_shot_scores(score_card, label, result, labels, classes)


def score_probe(
    score_card: ScoreCard,
    label: str,
    pretrained: PretrainedModel,
    data_config: DataConfig,
    test: Split,
    test_features: Numbers,
    shares: FeatureShares | None = None,
) -> None:
    """Add probe.<label>, if every split has an image with that label.

    test_features: (n, F) image-encoder features of the test split. shares: what other processes
    have embedded of the other splits.
    """
    splits = _open_splits(data_config, test)
    rows = _find_labelled_rows(splits, label)
    if rows is None:
        return
    train_features, rows[0] = split_features.compute_readable_features(
        pretrained, splits[0], rows[0], shares and shares.select_split("train")
    )
    validation_features = split_features.compute_image_features(
        pretrained, splits[1], rows[1], shares and shares.select_split("validation")
    )
    train, validation, test_set = (
        linear_probe.LabelledFeatures(image_features, split.labels[label][labelled_rows])
        for image_features, split, labelled_rows in zip(
            [train_features, validation_features, test_features[rows[2]]], splits, rows
        )
    )
    classes, labels = test.class_names[label], test_set.labels
    prediction, probe = linear_probe.fit_and_predict(train, validation, test_set, len(classes))
    outcome = (prediction == labels).astype(np.float64)
    zero_shot.add_accuracy_per_class(score_card, f"probe.{label}", outcome, labels, classes)
    score_card.add_array(f"probe.{label}.prediction", prediction.astype(np.int16))
    score_card.add_array(f"probe.{label}.strength", np.array([probe.l2]))
    score_card.add_array(f"probe.{label}.gradient", np.array([probe.max_gradient]))


def embed_probe_share(
    label: str,
    pretrained: PretrainedModel,
    data_config: DataConfig,
    test: Split,
    shares: FeatureShares,
    *,
    rank: int,
    world_size: int,
) -> None:
    """Store the share of a process in the features that `score_probe` needs."""
    splits = _open_splits(data_config, test)
    rows = _find_labelled_rows(splits, label)
    if rows is None:
        return
    split_features.embed_readable_share(
        pretrained,
        splits[0],
        rows[0],
        shares.select_split("train"),
        rank=rank,
        world_size=world_size,
    )
    split_features.embed_share(
        pretrained,
        splits[1],
        rows[1],
        shares.select_split("validation"),
        rank=rank,
        world_size=world_size,
    )


def _open_splits(data_config: DataConfig, test: Split) -> tuple[Split, Split, Split]:
    return (
        split_features.open_split_cached(data_config, "train"),
        split_features.open_split_cached(data_config, "validation"),
        test,
    )


def _find_labelled_rows(splits: Sequence[Split], label: str) -> list[NDArray[np.int64]] | None:
    """Return the images with the label in each split; None if a split has none."""
    rows = [np.flatnonzero(split.labels[label] >= 0) for split in splits]
    return rows if all(map(len, rows)) else None


def add_ground_truth(score_card: ScoreCard, split: Split) -> None:
    """Add the samples' ids (n,) uint64 and labels (n,) int16 (-1: none) to the predictions.

    Where samples come in clusters (variants of one emoji), `family` (n,) uint64 says which belong
    together.
    """
    score_card.add_array("ids", split.ids)
    if split.clusters is not None:
        score_card.add_array(CLUSTER_ARRAY, split.clusters)
    for label, values in split.labels.items():
        score_card.add_array(f"labels.{label}", values.astype(np.int16))
