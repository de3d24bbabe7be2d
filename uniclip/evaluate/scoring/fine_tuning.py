"""Full fine-tuning of a model on a data set, and the outcomes of its test images.

The result is cached by everything that it depends on; until then, a checkpoint lies beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uniclip.checkpoints.pretrained import BATCH_SIZE, PretrainedModel
from uniclip.evaluate import metrics
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.progress import ReportProgress
from uniclip.evaluate.protocols.fine_tuning import FineTuningConfig
from uniclip.evaluate.protocols.protocol import DatasetProtocol, Preprocessing
from uniclip.evaluate.scoring import classification
from uniclip.evaluate.scoring.dataset_splits import DatasetSplits
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.fine_tuner import Checkpointing, FineTuner
from uniclip.evaluate.scoring.image_classifier import ImageClassifier
from uniclip.evaluate.scoring.training_views import TrainingViews, select_validation
from uniclip.io import hashing

FOLDER = "fine_tuning"
"""Folder of the cache that has the checkpoints."""


@dataclass(frozen=True)
class FineTuningResult:
    """The test images under the selected weights, and what was selected."""

    prediction: NDArray[np.int64]
    """(n,) class of each test image."""
    outcome: metrics.Float
    """(n,) 1 where correct; in a tie the probability of being correct."""
    learning_rate: float
    step: int
    validation_score: float
    """The metric on validation images."""


@dataclass(frozen=True)
class FineTuning:
    """The fine-tuning of one model on one data set."""

    encoder: CachedEncoder
    protocol: DatasetProtocol
    """That of the data set whose images it has: prompts, metric, preprocessing."""
    config: FineTuningConfig
    splits: DatasetSplits
    report_progress: ReportProgress

    def get_result(self, test: ImageDataset) -> FineTuningResult:
        """Return the result from the cache, or train the model.

        Raises:
            StopRequested: The evaluation is interrupted; another call resumes from there.
            UserError: An image cannot be read, or the weights diverged.
        """
        key, cache = self._build_key(), self.encoder.cache
        path = None
        if cache.folder is not None:
            path = cache.folder / FOLDER / f"{hashing.digest(key, 32)}.safetensors"
        arrays = cache.get_or_compute(key, lambda: self._compute_arrays(test, path))
        if path is not None:
            path.unlink(missing_ok=True)
        learning_rate, step, score = arrays["selection"].tolist()
        return FineTuningResult(
            arrays["prediction"], arrays["outcome"], learning_rate, int(step), score
        )

    def _build_key(self) -> dict[str, Any]:
        """Return everything that the result depends on, as plain JSON."""
        return {
            **self.encoder.build_feature_key(
                self.splits.fingerprint, "all", self.protocol.preprocessing
            ),
            "fine_tuning": self.config.build_record(),
            "prompts": hashing.digest(classification.build_prompts(self.protocol), 32),
            "metric": self.protocol.metric,
        }

    def _compute_arrays(self, test: ImageDataset, path: Path | None) -> dict[str, Numbers]:
        pretrained = self.encoder.pretrained
        prompts = classification.build_prompts(self.protocol)
        classifier = ImageClassifier(
            pretrained.embedder,
            self.encoder.build_classifier(prompts),
            pretrained.image_text_scale(),
        )
        train, name = self.splits.open("train"), self.protocol.dataset
        assert train.labels is not None
        assert test.labels is not None
        fine_tuner = FineTuner(
            classifier,
            TrainingViews(train, name, pretrained.config.model.image.image_size),
            train.labels,
            self._build_validation(),
            self.config,
            Checkpointing(path, pretrained.config.runtime.checkpoint_seconds),
            should_stop=self.encoder.should_stop,
            report_progress=self.report_progress,
            num_workers=self.encoder.num_workers,
        )
        fine_tuner.run()
        logits = compute_logits(self.encoder, classifier, test, self.protocol.preprocessing)
        counters = fine_tuner.counters
        learning_rate = self.config.learning_rates[counters.best_rate]
        return {
            "prediction": logits.argmax(axis=1),
            "outcome": metrics.top_k_correct(logits, test.labels),
            "selection": np.array([learning_rate, counters.best_step, counters.best_score]),
        }

    def _build_validation(self) -> Callable[[ImageClassifier], float]:
        """Return the function that scores a classifier on validation images."""
        images, protocol = self.splits.open("validation"), self.protocol
        index = select_validation(protocol.dataset, len(images), self.config.max_validation_images)
        assert images.labels is not None
        labels = images.labels[index]

        def validate(classifier: ImageClassifier) -> float:
            logits = compute_logits(self.encoder, classifier, images, protocol.preprocessing, index)
            is_finite = np.isfinite(logits).all()
            score = metrics.compute_score(protocol.metric, logits, labels)
            return score if is_finite else -np.inf

        return validate


def compute_logits(
    encoder: CachedEncoder,
    classifier: ImageClassifier,
    images: ImageDataset,
    preprocessing: Preprocessing,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Return the logits (n, C) of images, or of some `rows` (n,) of them, as they are tested.

    encoder: That of the model before it was fine-tuned; nothing is cached.
    """
    pretrained = encoder.pretrained
    tuned = PretrainedModel(
        classifier.embedder, pretrained.method, pretrained.tokenizer, pretrained.config
    )
    tuned_encoder = CachedEncoder(tuned, Cache(), encoder.should_stop, encoder.num_workers)
    features = tuned_encoder.compute_image_features({}, images, preprocessing, rows)
    unit_rows = torch.from_numpy(tuned.project_image(features))
    with torch.no_grad():
        parts = [
            classifier.classify(part.to(tuned.device)).cpu()
            for part in torch.split(unit_rows, BATCH_SIZE)
        ]
    logits: NDArray[np.float32] = torch.cat(parts).numpy()
    return logits
