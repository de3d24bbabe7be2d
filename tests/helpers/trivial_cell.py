"""The executor of a trivial cell: no torch, but heartbeats, an outcome and scores like any other.

A separate module, since each of up to 500 jobs imports it. As a script it does the same work
without a sweep: python trivial_cell.py <store> <run id>.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from uniclip.identity import compute_source_hash, compute_training_hash
from uniclip.io.atomic import atomic_write, write_once
from uniclip.store import AttemptFolder, DatasetScores, ExitKind, Outcome, RunFolder, Score, Store
from uniclip.store.json_io import to_json_bytes

EVALUATIONS = {"nothing": "0123456789ab"}


def resolve_numerics_class(run: RunFolder, run_only: Mapping[str, Any]) -> dict[str, Any]:
    """Return a constant: nothing is computed."""
    return {"device": "none"}


def execute(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    """Sleep for a random part of the cell's seconds, then write what a training writes."""
    config = run.read_spec()["config"]
    seconds = config.get("seconds", 0.0)
    attempt.write_heartbeat(step=0, total_steps=1, steps_per_second=1.0, phase="training")
    time.sleep(seconds * random.random())
    if stop():
        return "interrupted"
    if attempt.is_superseded():
        return "superseded"
    run.write_outcome(
        Outcome(
            kind="trained",
            step=1,
            attempt=attempt.number,
            training_hash=compute_training_hash(),
            source_hash=compute_source_hash(),
            numerics_class={"device": "cpu"},
            weights_digest="00",
            best_step=None,
            cost={},
        )  # fmt: skip
    )
    score = Score(
        name="zero",
        value=config.get("score", 0.0),
        kind="accuracy",
        chance=0.0,
        num_samples=config.get("num_samples", 1),
    )
    for name, evaluation in evaluations.items():
        dataset_scores = DatasetScores(
            dataset=name,
            evaluation_hash=evaluation,
            protocol={},
            weights_digest="00",
            scores=(score,),
        )
        write_once(run.scores_path(name, evaluation), to_json_bytes(dataset_scores))
    attempt.log_event("finished")
    return "trained"


if __name__ == "__main__":
    run_folder = Store(sys.argv[1]).get_run(sys.argv[2])
    run_folder.write_spec({"config": {"seconds": 0.0}})
    attempt = run_folder.get_attempt(1)
    atomic_write(attempt.claim_path, b"{}")
    assert execute(run_folder, {}, attempt, EVALUATIONS, lambda: False) == "trained"
