"""One run, from its configuration to published weights and scores.

Publication is a row of links, each done once: tokenizer, best weights, final weights, outcome, and
then for each data set the predictions and the scores. The final weights close training: they are
linked after all that a model needs, so whoever finds them need not train again.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

import numpy as np

from uniclip import distributed, evaluate, numerics
from uniclip.checkpoints import warm_start
from uniclip.checkpoints.load import decode_weights, load_from_folder
from uniclip.checkpoints.pretrained import PretrainedModel
from uniclip.checkpoints.tensor_file import bundle_modules, encode
from uniclip.config import RunConfig
from uniclip.errors import StopRequested, UserError, make_not_evaluated_error
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.io import hashing
from uniclip.io.atomic import atomic_write, link_once, read_jsonl, write_once
from uniclip.io.hashing import digest_file
from uniclip.store import AttemptFolder, DatasetScores, Outcome, RunFolder
from uniclip.store.json_io import to_json_bytes
from uniclip.training.metrics_log import HEARTBEAT_INTERVAL_S, tolerate_full_disk
from uniclip.training.trainer import TrainResult, train_model

EndKind = Literal["trained", "diverged", "evaluated", "interrupted", "paused", "superseded"]
COST_METRICS = ("seconds_per_step", "parameters", "checkpoint_bytes", "peak_memory_bytes")


def execute_run(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    *,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool] = lambda: False,
) -> EndKind:
    """Do what `run` still lacks: train it unless it has an outcome, then evaluate it.

    attempt: claimed by this process; it writes no last word, that is for its owner.
    evaluations: data set -> evaluation hash, for each set that is present.
    stop: asked after each step and before each data set; what is done is kept.

    Of several processes (`uniclip.distributed`) rank 0 calls this while each other calls `assist`.

    Returns "trained" if training ended here, "evaluated" if it had ended before, "diverged" for a
    run that did, "interrupted" if stopped, "paused" where `runtime.stop_fraction` says, "superseded" if a
    newer attempt took over (from then on nothing is published).

    Raises:
        UserError: data, disk, or damaged files; one line. Sets that cannot be judged are named in
            it when all others have been.
    """
    numerics.apply(config.train.num_threads)
    existing_outcome = run.read_outcome()
    needs_training = distributed.get_process_group().broadcast_object(
        existing_outcome is None and not run.weights_path.exists()
    )
    end_kind: EndKind = (
        existing_outcome.kind
        if existing_outcome
        else _train(run, config, attempt, stop, needs_training)
    )
    if end_kind != "trained":
        return end_kind
    pending_evaluations = {
        name: h for name, h in evaluations.items() if run.read_scores(name, h) is None
    }
    interruption = (
        _evaluate(run, config, attempt, pending_evaluations, stop) if pending_evaluations else None
    )
    return interruption or ("evaluated" if existing_outcome else "trained")


def run_nonzero_rank(config: RunConfig, *, stop: Callable[[], bool] = lambda: False) -> None:
    """What every process but rank 0 does while rank 0 is in `run`: it trains along.

    It writes nothing, and returns when training ends or if there is none; rank 0 may go on to
    publish and evaluate for hours, for which `Processes.share` waits (`processes.BETWEEN_STEPS`).

    config: that of rank 0.
    stop: asked after each step; where any process says so, all end with a checkpoint.

    Raises:
        UserError: as `run`.
        RuntimeError: another process is gone. After any error in `run` or `assist` a process must
            end, for it has left the row of exchanges in which the others still stand.
    """
    numerics.apply(config.train.num_threads)
    if distributed.get_process_group().broadcast_object():
        train_model(config, stop=stop)


# ---- training and its publication -------------------------------------------------------------


def _train(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    stop: Callable[[], bool],
    needs_training: bool,
) -> EndKind:
    if needs_training:
        warm_start.check_unchanged(config.pretrained, run.read_spec()["data"])
        validate = partial(evaluate.validate, data_config=config.data)
        result = train_model(config, attempt=attempt, validate=validate, stop=stop)
        if result.kind == "stopped":
            return "interrupted"
        if result.kind == "paused":
            return "paused"
        if result.kind == "superseded" or attempt.is_overtaken():
            return "superseded"
        if result.kind == "diverged":
            return _publish_outcome(
                run, _build_outcome(run, attempt, kind="diverged", step=result.step)
            )
        _publish_weights(run, attempt, result)
    else:
        # Weights are linked last of all files of training, and equal configurations give equal
        # weights: an earlier attempt died just before its outcome, so only that is missing.
        attempt.log_event("adopted_weights", weights=digest_file(run.weights_path))
    if attempt.is_overtaken():
        return "superseded"
    return _publish_outcome(run, _build_trained_outcome(run, attempt))


def _publish_outcome(run: RunFolder, outcome: Outcome) -> Literal["trained", "diverged"]:
    run.write_outcome(outcome)
    stored_outcome = run.read_outcome()
    assert stored_outcome is not None
    return stored_outcome.kind  # a rival's, if one was faster


def _publish_weights(run: RunFolder, attempt: AttemptFolder, result: TrainResult) -> None:
    pretrained = result.pretrained
    final_weights = bundle_modules(pretrained.embedder, pretrained.method).state_dict()
    tokenizer_bytes = pretrained.tokenizer.to_json().encode()
    tokenizer_metadata = {"tokenizer": blake2b(tokenizer_bytes, digest_size=16).hexdigest()}
    write_once(run.tokenizer_path, tokenizer_bytes)
    if result.best_state is not None:
        best_path = attempt.path / run.best_weights_path.name
        atomic_write(
            best_path,
            encode(result.best_state, {"step": result.best_step, **tokenizer_metadata}),
        )
        link_once(run.best_weights_path, best_path)
    weights_path = attempt.path / run.weights_path.name
    atomic_write(weights_path, encode(final_weights, {"step": result.step, **tokenizer_metadata}))
    if not link_once(run.weights_path, weights_path) and digest_file(
        run.weights_path
    ) != digest_file(weights_path):
        # A rival was faster and is of another numerics class. What is published stays: others may
        # have read it.
        attempt.log_event(
            "weights_differ",
            published=digest_file(run.weights_path),
            ours=digest_file(weights_path),
        )


def _build_trained_outcome(run: RunFolder, attempt: AttemptFolder) -> Outcome:
    """The outcome of the weights that are published, whichever attempt they come from."""
    return _build_outcome(
        run,
        _find_weights_attempt(run, attempt),
        kind="trained",
        step=decode_weights(run.weights_path)[1]["step"],
        weights=digest_file(run.weights_path),
        best_step=decode_weights(run.best_weights_path)[1]["step"]
        if run.best_weights_path.exists()
        else None,
    )


def _find_weights_attempt(run: RunFolder, attempt: AttemptFolder) -> AttemptFolder:
    """The attempt whose file is linked as the run's weights (else the one that asks)."""
    for number in run.list_attempts():
        candidate = run.get_attempt(number)
        file = candidate.path / run.weights_path.name
        if file.exists() and file.samefile(run.weights_path):
            return candidate
    return attempt


def _build_outcome(
    run: RunFolder,
    source_attempt: AttemptFolder,
    *,
    kind: Literal["trained", "diverged"],
    step: int,
    weights: str | None = None,
    best_step: int | None = None,
) -> Outcome:
    claim = source_attempt.read_claim()
    assert claim is not None, f"attempt {source_attempt.number} was never claimed"
    return Outcome(
        kind=kind,
        step=step,
        attempt=source_attempt.number,
        training_hash=claim.training_hash,
        source_hash=claim.source_hash,
        numerics_class=claim.numerics_class,
        weights_digest=weights,
        best_step=best_step,
        cost=_collect_cost(run),
    )


def _collect_cost(run: RunFolder) -> dict[str, float]:
    """What the run cost, from the metrics of all of its attempts; lost steps are paid for too."""
    metrics = [read_jsonl(run.get_attempt(number).metrics_path) for number in run.list_attempts()]
    attempt_seconds = [
        max((r.get("attempt_seconds", 0.0) for r in records), default=0.0) for records in metrics
    ]
    cost_records = [r for records in metrics for r in records if r.get("phase") == "cost"]
    measurements = {name: cost_records[-1][name] for name in COST_METRICS} if cost_records else {}
    return {"training_seconds": sum(attempt_seconds), **measurements}


# ---- evaluation -------------------------------------------------------------------------------


def _evaluate(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> Literal["interrupted", "superseded"] | None:
    """Judge the published weights on each of `evaluations`; why not all were done, if so.

    A set that cannot be judged keeps none of the others from it: `UserError` at the end.
    """
    outcome = run.read_outcome()
    assert outcome is not None
    assert outcome.weights_digest is not None
    pretrained = load_from_folder(run, config)
    failures: dict[str, str] = {}
    for name, evaluation_hash in evaluations.items():
        write_heartbeat = partial(
            attempt.write_heartbeat,
            step=outcome.step,
            total_steps=config.train.steps,
            steps_per_second=0.0,
            phase=f"evaluating {name}",
        )
        should_stop = _StopCheckWithHeartbeat(stop, write_heartbeat)
        if should_stop():
            return "interrupted"
        try:
            with fingerprint_cache():
                scores, predictions = _score_dataset(
                    run,
                    config,
                    pretrained,
                    outcome.weights_digest,
                    name,
                    evaluation_hash,
                    should_stop,
                )
        except StopRequested:
            return "interrupted"
        except UserError as error:
            failures[name] = str(error)
            continue
        if attempt.is_overtaken():
            return "superseded"
        # Scores last: who finds them finds the outcomes behind them too.
        write_once(run.predictions_path(name, evaluation_hash), _to_npz_bytes(predictions))
        write_once(run.scores_path(name, evaluation_hash), to_json_bytes(scores))
    if failures:
        raise make_not_evaluated_error(failures)
    return None


@dataclass
class _StopCheckWithHeartbeat:
    """A question whether to stop that is asked often; now and then it gives a sign of life."""

    stop: Callable[[], bool]
    write_heartbeat: Callable[[], None]
    last_heartbeat: float = -math.inf

    def __call__(self) -> bool:
        if time.monotonic() - self.last_heartbeat >= HEARTBEAT_INTERVAL_S:
            with tolerate_full_disk():
                self.write_heartbeat()
            self.last_heartbeat = time.monotonic()
        return self.stop()


def _score_dataset(
    run: RunFolder,
    config: RunConfig,
    pretrained: PretrainedModel,
    weights_digest: str,
    name: str,
    evaluation_hash: str,
    stop: Callable[[], bool],
) -> tuple[DatasetScores, dict[str, Any]]:
    """Scores and outcomes on one set, whose evaluation hash must be the planned one."""
    protocol = evaluate.build_protocol(name, config, run.cache_path)
    if hashing.digest(protocol, 8) != evaluation_hash:
        raise UserError("the data, or how it is judged, has changed since the plan; run again")
    scores, predictions = evaluate.evaluate(
        name, pretrained, config, run.cache_path, weights_digest, stop
    )
    near_duplicates = evaluate.find_near_duplicates(name, config, run.cache_path)
    if near_duplicates is not None:
        predictions = {**predictions, "near_duplicate": near_duplicates}
    return DatasetScores(
        dataset=name,
        evaluation_hash=evaluation_hash,
        protocol=protocol,
        weights_digest=weights_digest,
        scores=scores,
    ), predictions


def _to_npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **dict(arrays))
    return stream.getvalue()
