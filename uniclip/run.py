"""One run, from its configuration to published weights and scores; and the way back, `load`.

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
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from uniclip import distributed, evaluate, identity, methods, numerics
from uniclip.checkpoints import warm_start
from uniclip.checkpoints.pretrained import Pretrained
from uniclip.config import RunConfig
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import Stopped, UserError, not_judged
from uniclip.evaluate.datasets import looked_at_once
from uniclip.io.atomic import as_json, lines, publish, publish_file, sum_of
from uniclip.io.atomic import replace as write
from uniclip.models.embedder import build_embedder
from uniclip.store import AttemptFolder, Outcome, RunFolder, Scores, Store
from uniclip.training import checkpoint
from uniclip.training.metrics_log import SECONDS_PER_BEAT, going_on
from uniclip.training.trainer import Fitted, fit

Kind = Literal["trained", "diverged", "evaluated", "interrupted", "halted", "overtaken"]
COSTS = ("seconds_per_step", "parameters", "checkpoint_bytes", "peak_memory_bytes")


def run(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    *,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool] = lambda: False,
) -> Kind:
    """Do what `run` still lacks: train it unless it has an outcome, then evaluate it.

    attempt: claimed by this process; it writes no last word, that is for its owner.
    evaluations: data set -> evaluation hash, for each set that is present.
    stop: asked after each step and before each data set; what is done is kept.

    Of several processes (`uniclip.distributed`) rank 0 calls this while each other calls `assist`.

    Returns "trained" if training ended here, "evaluated" if it had ended before, "diverged" for a
    run that did, "interrupted" if stopped, "halted" where `runtime.halt` says, "overtaken" if a
    newer attempt took over (from then on nothing is published).

    Raises:
        UserError: data, disk, or damaged files; one line. Sets that cannot be judged are named in
            it when all others have been.
    """
    numerics.apply(config)
    before = run.outcome()
    trains = distributed.current().share(before is None and not run.weights.exists())
    ended: Kind = before.kind if before else _train(run, config, attempt, stop, trains)
    if ended != "trained":
        return ended
    lacking = {name: h for name, h in evaluations.items() if run.scores(name, h) is None}
    cut_short = _evaluate(run, config, attempt, lacking, stop) if lacking else None
    return cut_short or ("evaluated" if before else "trained")


def assist(config: RunConfig, *, stop: Callable[[], bool] = lambda: False) -> None:
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
    numerics.apply(config)
    if distributed.current().share():
        fit(config, stop=stop)


# ---- training and its publication -------------------------------------------------------------


def _train(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    stop: Callable[[], bool],
    trains: bool,
) -> Kind:
    if trains:
        warm_start.check(config, run.spec()["data"])
        validate = partial(evaluate.validate, config=config)
        fitted = fit(config, attempt=attempt, validate=validate, stop=stop)
        if fitted.kind == "stopped":
            return "interrupted"
        if fitted.kind == "halted":
            return "halted"
        if fitted.kind == "overtaken" or attempt.overtaken():
            return "overtaken"
        if fitted.kind == "diverged":
            return _publish(run, _outcome(run, attempt, kind="diverged", step=fitted.step))
        _publish_weights(run, attempt, fitted)
    else:
        # Weights are linked last of all files of training, and equal configurations give equal
        # weights: an earlier attempt died just before its outcome, so only that is missing.
        attempt.event("adopted_weights", weights=sum_of(run.weights))
    if attempt.overtaken():
        return "overtaken"
    return _publish(run, _trained_outcome(run, attempt))


def _publish(run: RunFolder, outcome: Outcome) -> Literal["trained", "diverged"]:
    run.publish_outcome(outcome)
    published = run.outcome()
    assert published is not None
    return published.kind  # a rival's, if one was faster


def _publish_weights(run: RunFolder, attempt: AttemptFolder, fitted: Fitted) -> None:
    pretrained = fitted.pretrained
    final = checkpoint.bundle(pretrained.embedder, pretrained.method).state_dict()
    words = pretrained.tokenizer.to_json().encode()
    belongs = {"tokenizer": blake2b(words, digest_size=16).hexdigest()}
    publish(run.tokenizer, words)
    if fitted.best_state is not None:
        best = attempt.path / run.best.name
        write(best, checkpoint.encode(fitted.best_state, {"step": fitted.best_step, **belongs}))
        publish_file(run.best, best)
    ours = attempt.path / run.weights.name
    write(ours, checkpoint.encode(final, {"step": fitted.step, **belongs}))
    if not publish_file(run.weights, ours) and sum_of(run.weights) != sum_of(ours):
        # A rival was faster and is of another numerics class. What is published stays: others may
        # have read it.
        attempt.event("weights_differ", published=sum_of(run.weights), ours=sum_of(ours))


def _trained_outcome(run: RunFolder, attempt: AttemptFolder) -> Outcome:
    """The outcome of the weights that are published, whichever attempt they come from."""
    return _outcome(
        run,
        _author(run, attempt),
        kind="trained",
        step=_decode(run.weights)[1]["step"],
        weights=sum_of(run.weights),
        best_step=_decode(run.best)[1]["step"] if run.best.exists() else None,
    )


def _author(run: RunFolder, attempt: AttemptFolder) -> AttemptFolder:
    """The attempt whose file is linked as the run's weights (else the one that asks)."""
    for number in run.attempts():
        theirs = run.attempt(number)
        file = theirs.path / run.weights.name
        if file.exists() and file.samefile(run.weights):
            return theirs
    return attempt


def _outcome(
    run: RunFolder,
    author: AttemptFolder,
    *,
    kind: Literal["trained", "diverged"],
    step: int,
    weights: str | None = None,
    best_step: int | None = None,
) -> Outcome:
    owner = author.owner()
    assert owner is not None, f"attempt {author.number} was never claimed"
    return Outcome(
        kind=kind,
        step=step,
        attempt=author.number,
        training=owner.training,
        source=owner.source,
        numerics=owner.numerics,
        weights=weights,
        best_step=best_step,
        cost=_cost(run),
    )


def _cost(run: RunFolder) -> dict[str, float]:
    """What the run cost, from the metrics of all of its attempts; lost steps are paid for too."""
    metrics = [lines(run.attempt(number).metrics) for number in run.attempts()]
    spent = [max((r.get("spent", 0.0) for r in records), default=0.0) for records in metrics]
    bills = [r for records in metrics for r in records if r.get("phase") == "cost"]
    sizes = {name: bills[-1][name] for name in COSTS} if bills else {}
    return {"training_seconds": sum(spent), **sizes}


# ---- evaluation -------------------------------------------------------------------------------


def _evaluate(
    run: RunFolder,
    config: RunConfig,
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> Literal["interrupted", "overtaken"] | None:
    """Judge the published weights on each of `evaluations`; why not all were done, if so.

    A set that cannot be judged keeps none of the others from it: `UserError` at the end.
    """
    outcome = run.outcome()
    assert outcome is not None
    assert outcome.weights is not None
    pretrained = _pretrained(run, config, best=False)
    failed: dict[str, str] = {}
    for name, evaluation in evaluations.items():
        beat = partial(
            attempt.beat,
            step=outcome.step,
            steps=config.train.steps,
            rate=0.0,
            phase=f"evaluating {name}",
        )
        watched = _Watched(stop, beat)
        if watched():
            return "interrupted"
        try:
            with looked_at_once():
                judged, predictions = _judged(
                    run, config, pretrained, outcome.weights, name, evaluation, watched
                )
        except Stopped:
            return "interrupted"
        except UserError as error:
            failed[name] = str(error)
            continue
        if attempt.overtaken():
            return "overtaken"
        # Scores last: who finds them finds the outcomes behind them too.
        publish(run.predictions_path(name, evaluation), _npz(predictions))
        publish(run.scores_path(name, evaluation), as_json(judged))
    if failed:
        raise not_judged(failed)
    return None


@dataclass
class _Watched:
    """A question whether to stop that is asked often; now and then it gives a sign of life."""

    stop: Callable[[], bool]
    beat: Callable[[], None]
    beaten: float = -math.inf

    def __call__(self) -> bool:
        if time.monotonic() - self.beaten >= SECONDS_PER_BEAT:
            with going_on():
                self.beat()
            self.beaten = time.monotonic()
        return self.stop()


def _judged(
    run: RunFolder,
    config: RunConfig,
    pretrained: Pretrained,
    weights: str,
    name: str,
    evaluation: str,
    stop: Callable[[], bool],
) -> tuple[Scores, dict[str, Any]]:
    """Scores and outcomes on one set, whose evaluation hash must be the planned one."""
    protocol = evaluate.protocol(name, config, run.cache)
    if identity.digest(protocol, 8) != evaluation:
        raise UserError("the data, or how it is judged, has changed since the plan; run again")
    scores, predictions = evaluate.evaluate(name, pretrained, config, run.cache, weights, stop)
    near = evaluate.leaked(name, config, run.cache)
    if near is not None:
        predictions = {**predictions, "leaked": near}
    return Scores(
        dataset=name, evaluation=evaluation, protocol=protocol, weights=weights, scores=scores
    ), predictions


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **dict(arrays))
    return stream.getvalue()


# ---- the way back -----------------------------------------------------------------------------


def load(run: str | Path, *, best: bool = False, store: str | Path | None = None) -> Pretrained:
    """The trained model of a run, on the CPU, ready to embed pictures and texts.

    run: a run's folder, a weights file in it, or (with `store`) a run id or an unambiguous prefix.
    best: the weights of the best validation instead of the final ones.

    Raises:
        UserError: there is no such run, it has no such weights, or a file is damaged.
    """
    folder, best = _find(run, best, store)
    config = identity.config_of(folder.spec()) if (folder.path / "spec.json").exists() else None
    if config is None:
        raise UserError(f"{folder.path} is no run folder: it has no spec.json")
    return _pretrained(folder, config, best=best)


def _find(run: str | Path, best: bool, store: str | Path | None) -> tuple[RunFolder, bool]:
    path = Path(run)
    if store is not None:
        found = [r for r in Store(store).runs() if r.id.startswith(str(run))]
        if len(found) == 1:
            return found[0], best
        ids = ", ".join(r.id for r in found) or "none"
        raise UserError(f"run {str(run)!r} must name one run of store {store}; it fits {ids}")
    if path.is_file():
        return RunFolder(path.resolve().parent), best or path.name == "best.safetensors"
    if path.is_dir():
        return RunFolder(path.resolve()), best
    raise UserError(f"no run at {path}; give a run's folder, or a run id and store=")


def _pretrained(run: RunFolder, config: RunConfig, *, best: bool) -> Pretrained:
    path = run.best if best else run.weights
    for needed in (path, run.tokenizer):
        if not needed.exists():
            raise UserError(f"{needed} is missing: the run is not trained to its end")
    tensors, facts = _decode(path)
    if sum_of(run.tokenizer) != facts["tokenizer"]:
        raise UserError(f"{run.tokenizer} is damaged: it is not what {path.name} was trained with")
    tokenizer = Tokenizer.from_json(run.tokenizer.read_text(encoding="utf-8"))
    method = methods.build(config)
    embedder = build_embedder(config, tokenizer, method.head)
    method.attach(embedder, tokenizer, config.seed)
    modules = checkpoint.bundle(embedder, method)
    try:
        modules.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(f"{path} does not fit the configuration in spec.json beside it") from None
    modules.to(numerics.device(config))
    return Pretrained(embedder, method, tokenizer, config)


def _decode(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        return checkpoint.decode(path)
    except checkpoint.Damaged as error:
        raise UserError(
            f"{error}; the file is damaged: move the run's folder away and run again"
        ) from None
