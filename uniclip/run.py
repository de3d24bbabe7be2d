"""One run, from its configuration to published weights and scores.

Files are published in this order, each once: tokenizer, best weights, final weights, outcome, and
then for each data set the predictions and the scores. The final weights end training: they are
linked after everything else that a model needs, so a run that has them is not trained again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, Literal

from uniclip import data, distributed, evaluate, numerics, shared_evaluation
from uniclip.checkpoints import weight_files
from uniclip.checkpoints.load import decode_weights, load_from_folder
from uniclip.checkpoints.tensor_file import bundle_modules, encode
from uniclip.config import RunConfig
from uniclip.config.yaml_file import format_config
from uniclip.evaluate.planned import check_user_datasets
from uniclip.io.atomic import atomic_write, link_once, read_jsonl, write_once
from uniclip.io.hashing import digest_file
from uniclip.run_evaluation import TrainingRunEvaluation
from uniclip.store import AttemptFolder, ExitKind, Outcome, RunFolder
from uniclip.training.heartbeat import repeat_heartbeats
from uniclip.training.metrics_log import tolerate_full_disk
from uniclip.training.trainer import TrainResult, train_model

COST_METRICS = ("seconds_per_step", "parameters", "checkpoint_bytes", "peak_memory_bytes")

CONTENT_EVENT = "data_content"
"""Event with the digests of the data that an attempt was trained on."""


def execute_run(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    *,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool] = lambda: False,
) -> ExitKind:
    """Train `run` unless it has an outcome, then evaluate it on the data sets without scores.

    Of several processes (`uniclip.distributed`) rank 0 calls this function, and every other process
    `run_nonzero_rank`.

    Args:
        run: Folder of the run.
        config: Its configuration.
        attempt: Claimed by this process, which writes the exit record after this function.
        evaluations: Data set -> evaluation hash, for each data set that is present.
        stop: Called after each step and before each data set; what has been done is kept.

    Returns:
        "trained" if training ended in this call, "evaluated" if it had ended before, "diverged" if
        the run diverged, "interrupted" if `stop` returned True, "paused" at
        `runtime.stop_fraction`, "superseded" if a newer attempt was claimed (from then on nothing
        is published).

    Raises:
        UserError: data are missing, the disk is full, or a file is damaged; one line. Data sets
            that could not be evaluated are named after all others have been evaluated.
        DataChangedError: the data or the checkpoint are not those of the spec.
    """
    numerics.apply(config.train.num_threads)
    run.write_config(format_config(config, f"The configuration of run {run.id}."))
    with require_planned_data(config, run.read_spec()), repeat_heartbeats(attempt):
        return _execute(run, config, attempt, evaluations, stop)


@contextmanager
def require_planned_data(config: RunConfig, spec: Mapping[str, Any]) -> Iterator[None]:
    """Context in which data and checkpoint are opened only if they are those of the spec."""
    planned = spec["data"]
    with (
        data.require_fingerprint(config.data, weight_files.select_data_fingerprint(planned)),
        weight_files.require_fingerprint(planned),
    ):
        yield


def _execute(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    existing_outcome = run.read_outcome()
    needs_training = distributed.get_process_group().broadcast_object(
        existing_outcome is None and not run.weights_path.exists()
    )
    exit_kind: ExitKind = (
        existing_outcome.kind
        if existing_outcome
        else _train(run, config, attempt, evaluations, stop, needs_training)
    )
    if exit_kind != "trained":
        shared_evaluation.end_embedding()
        return exit_kind
    pending_evaluations = {
        name: h for name, h in evaluations.items() if run.read_scores(name, h) is None
    }
    try:
        interruption = (
            _evaluate(run, config, attempt, pending_evaluations, stop)
            if pending_evaluations
            else None
        )
    finally:
        shared_evaluation.end_embedding()
    return interruption or ("evaluated" if existing_outcome else "trained")


def run_nonzero_rank(config: RunConfig, *, stop: Callable[[], bool] = lambda: False) -> None:
    """Train with rank 0, which is in `execute_run`; called by every other process.

    It writes nothing but its share of embeddings into the cache (`shared_evaluation`), and returns
    when training and evaluation have ended. While rank 0 publishes and scores, possibly for hours,
    the others wait in `ProcessGroup.broadcast_object` (up to `distributed.RANK_ZERO_TIMEOUT`).

    Args:
        config: The configuration of the run, as of rank 0.
        stop: Called after each step; if it returns True on any process, all stop with a
            checkpoint.

    Raises:
        UserError: as `execute_run`.
        RuntimeError: another process has exited. After an error in `execute_run` or here a process
            must exit, as the others wait for its next collective.
    """
    numerics.apply(config.train.num_threads)
    if distributed.get_process_group().broadcast_object():
        train_model(config, stop=stop)
    shared_evaluation.embed_for_rank_zero(config, stop)


def _write_heartbeat(attempt: AttemptFolder, config: RunConfig, step: int, phase: str) -> None:
    """Write a heartbeat of a phase without steps; `repeat_heartbeats` repeats it."""
    with tolerate_full_disk():
        attempt.write_heartbeat(
            step=step, total_steps=config.train.steps, steps_per_second=0.0, phase=phase
        )


# ---- training and its publication -------------------------------------------------------------


def _train(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
    needs_training: bool,
) -> ExitKind:
    if needs_training:
        _write_heartbeat(attempt, config, 0, "opening")  # shards are read from end to end
        weight_files.check_unchanged(config, run.read_spec()["data"])
        check_user_datasets(evaluations, config, run.cache_path)
        content = data.require_content(config.data, _collect_trained_contents(run))
        attempt.log_event(CONTENT_EVENT, content=content)
        validate = partial(evaluate.validate, data_config=config.data)
        result = train_model(config, attempt=attempt, validate=validate, stop=stop)
        if result.kind == "stopped":
            return "interrupted"
        if result.kind == "paused":
            return "paused"
        if result.kind == "superseded" or attempt.is_superseded():
            return "superseded"
        if result.kind == "diverged":
            return _publish_outcome(
                run, _build_outcome(run, attempt, kind="diverged", step=result.step)
            )
        _publish_weights(run, attempt, result)
    else:
        # The weights are the last file of training, and equal configurations give equal weights:
        # an earlier attempt died before it wrote the outcome, which alone is missing.
        attempt.log_event("adopted_weights", weights=digest_file(run.weights_path))
    if attempt.is_superseded():
        return "superseded"
    return _publish_outcome(run, _build_trained_outcome(run, attempt))


def _publish_outcome(run: RunFolder, outcome: Outcome) -> Literal["trained", "diverged"]:
    run.write_outcome(outcome)
    stored_outcome = run.read_outcome()
    assert stored_outcome is not None
    return stored_outcome.kind  # of another attempt, if that was faster


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
        # Another attempt was faster, in another numerics class. Its weights stay: they may have
        # been read already.
        attempt.log_event(
            "weights_differ",
            published_digest=digest_file(run.weights_path),
            attempt_digest=digest_file(weights_path),
        )


def _build_trained_outcome(run: RunFolder, attempt: AttemptFolder) -> Outcome:
    """Return the outcome of the published weights, whichever attempt wrote them."""
    return _build_outcome(
        run,
        _find_weights_attempt(run, attempt),
        kind="trained",
        step=decode_weights(run.weights_path)[1]["step"],
        weights_digest=digest_file(run.weights_path),
        best_step=decode_weights(run.best_weights_path)[1]["step"]
        if run.best_weights_path.exists()
        else None,
    )


def _find_weights_attempt(run: RunFolder, attempt: AttemptFolder) -> AttemptFolder:
    """Return the attempt whose file is linked as the run's weights, or else `attempt`."""
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
    weights_digest: str | None = None,
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
        weights_digest=weights_digest,
        best_step=best_step,
        cost=_collect_cost(run),
        unreadable_images=run.count_unreadable_images(),
        data_content=_read_content(source_attempt),
        skipped_samples=run.count_skipped_samples(),
    )


def _read_content(attempt: AttemptFolder) -> dict[str, str]:
    """Return the digests of the data that an attempt was trained on; empty if there are none."""
    events = [e for e in read_jsonl(attempt.events_path) if e.get("event") == CONTENT_EVENT]
    return dict(events[-1]["content"]) if events else {}


def _collect_trained_contents(run: RunFolder) -> dict[str, set[str]]:
    """Return the digests of the data of all attempts whose checkpoints may be continued."""
    contents: dict[str, set[str]] = {}
    for attempt in map(run.get_attempt, run.list_attempts()):
        if any(attempt.checkpoints_path.glob("*.safetensors")):
            for key, value in _read_content(attempt).items():
                contents.setdefault(key, set()).add(value)
    return contents


def _collect_cost(run: RunFolder) -> dict[str, float]:
    """Return the cost of a run from the metrics of all attempts, lost steps included."""
    metrics = [read_jsonl(run.get_attempt(number).metrics_path) for number in run.list_attempts()]
    attempt_seconds = [
        max((r.get("attempt_seconds", 0.0) for r in m), default=0.0) for m in metrics
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
    """Evaluate the published weights on each of `evaluations`; see `run_evaluation`."""
    outcome = run.read_outcome()
    assert outcome is not None
    assert outcome.weights_digest is not None
    if outcome.data_content and config.data.name in evaluations:
        _write_heartbeat(attempt, config, outcome.step, "evaluating")
        data.require_content(config.data, {k: {v} for k, v in outcome.data_content.items()})
    numerics.apply(config.train.num_threads)  # exact, whatever numerics the training had
    evaluation = TrainingRunEvaluation(
        run=run,
        attempt=attempt,
        pretrained=load_from_folder(run, config),
        config=config,
        weights_digest=outcome.weights_digest,
        step=outcome.step,
        total_steps=config.train.steps,
        stop=stop,
    )
    return evaluation.evaluate(evaluations)
