"""Evaluation of a trained model in a run's folder: scores and predictions, each published once."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from uniclip import evaluate, shared_evaluation
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.config import RunConfig
from uniclip.errors import DataChangedError, StopRequested, UserError, make_not_evaluated_error
from uniclip.evaluate.datasets import fingerprint_cache, fresh_fingerprint_cache
from uniclip.evaluate.planned import require_protocol
from uniclip.evaluation_heartbeat import EvaluationHeartbeat
from uniclip.io.atomic import write_once
from uniclip.store import AttemptFolder, DatasetScores, RunFolder
from uniclip.store.json_io import to_json_bytes

Interruption = Literal["interrupted", "superseded"]


@dataclass(kw_only=True)
class RunEvaluation:
    """The evaluation of a model whose training data are not known."""

    run: RunFolder
    attempt: AttemptFolder
    pretrained: PretrainedModel
    config: RunConfig
    """Its data root and protocol, and the limit of the cache of embeddings."""
    weights_digest: str
    step: int
    total_steps: int
    """For heartbeats."""
    stop: Callable[[], bool]
    """Called before each data set and during its evaluation; what has been done is kept."""

    @fingerprint_cache()  # of published files, which several data sets may share
    def evaluate(self, evaluations: Mapping[str, str]) -> Interruption | None:
        """Evaluate the model on data sets.

        Args:
            evaluations: Data set -> planned evaluation hash.

        Returns:
            Why it ended before the last data set, or None.

        Raises:
            UserError: data sets could not be evaluated; raised after all others have been.
            DataChangedError: one of them is not that of the plan.
        """
        failures: dict[str, UserError] = {}
        for name, evaluation_hash in evaluations.items():
            heartbeat = EvaluationHeartbeat(
                self.attempt, name, self.step, self.total_steps, self.stop
            )
            if heartbeat.should_stop():
                return "interrupted"
            try:
                scores, predictions = self._score_steadily(name, evaluation_hash, heartbeat)
            except StopRequested:
                return "interrupted"
            except UserError as error:
                failures[name] = error
                continue
            if self.attempt.is_superseded():
                return "superseded"
            # Scores last: where they are, the predictions behind them are too.
            predictions_path = self.run.predictions_path(name, evaluation_hash)
            write_once(predictions_path, _to_npz_bytes(predictions))
            write_once(self.run.scores_path(name, evaluation_hash), to_json_bytes(scores))
        if failures:
            summary = make_not_evaluated_error(
                {name: str(error) for name, error in failures.items()}
            )
            if any(isinstance(error, DataChangedError) for error in failures.values()):
                raise DataChangedError(str(summary))
            raise summary
        return None

    def require_protocol(self, name: str, evaluation_hash: str) -> dict[str, Any]:
        """Return the protocol of a data set; `DataChangedError` unless it has the planned hash."""
        return require_protocol(name, evaluation_hash, self.config, self.run.cache_path)

    @property
    def embeddings_hash(self) -> str:
        """Hash of what determines the embeddings of data: the weights, and how they are read."""
        return self.weights_digest

    def find_near_duplicates(self, name: str) -> Any:
        """Return which test images are near-duplicates of training images, if that is known."""
        return None

    def _score_steadily(
        self, name: str, evaluation_hash: str, heartbeat: EvaluationHeartbeat
    ) -> tuple[DatasetScores, dict[str, Any]]:
        """Return scores and predictions on a data set that has not changed meanwhile."""
        is_published = name in evaluate.datasets.DATASETS  # such files are not rewritten
        with shared_evaluation.embedded_with_others(
            self.run,
            name,
            self.pretrained,
            self.config,
            self.embeddings_hash,
            heartbeat.should_stop,
        ) as shares_folder:
            with fingerprint_cache() if is_published else fresh_fingerprint_cache():
                scores, predictions = self._score(name, evaluation_hash, heartbeat, shares_folder)
        if not is_published:
            with fresh_fingerprint_cache():
                self.require_protocol(name, evaluation_hash)
        return scores, predictions

    def _score(
        self,
        name: str,
        evaluation_hash: str,
        heartbeat: EvaluationHeartbeat,
        shares_folder: Path | None,
    ) -> tuple[DatasetScores, dict[str, Any]]:
        """Return scores and predictions on one data set.

        shares_folder: As of `evaluate.evaluate`.

        Raises:
            DataChangedError: its evaluation hash is not the planned one.
        """
        protocol = self.require_protocol(name, evaluation_hash)
        scores, predictions = evaluate.evaluate(
            name,
            self.pretrained,
            self.config,
            self.run.cache_path,
            self.embeddings_hash,
            should_stop=heartbeat.should_stop,
            report_progress=heartbeat.report_progress,
            shares_folder=shares_folder,
        )
        near_duplicates = self.find_near_duplicates(name)
        if near_duplicates is not None:
            predictions = {**predictions, "near_duplicate": near_duplicates}
        return DatasetScores(
            dataset=name,
            evaluation_hash=evaluation_hash,
            protocol=protocol,
            weights_digest=self.weights_digest,
            scores=scores,
        ), predictions


class TrainingRunEvaluation(RunEvaluation):
    """The evaluation of a training run of this package, whose training data are known."""

    def find_near_duplicates(self, name: str) -> Any:
        """Return which test images are near-duplicates, as `evaluate.find_near_duplicates`."""
        return evaluate.find_near_duplicates(name, self.config, self.run.cache_path)


def _to_npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **dict(arrays))
    return stream.getvalue()
