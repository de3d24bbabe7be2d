"""The entry point of a trivial cell: no torch, but heartbeats, outcomes and scores like any other.

A module of its own, for what each job of such a cell imports is paid 500 times. As a script it is
the same work without a sweep around it: python trivial_cell.py <store> <run id>.
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
    """There is nothing to compute."""
    return {"device": "none"}


def execute(
    run: RunFolder,
    run_only: Mapping[str, Any],
    attempt: AttemptFolder,
    evaluations: Mapping[str, str],
    stop: Callable[[], bool],
) -> ExitKind:
    """Sleep a while, then publish as a training would."""
    seconds = run.read_spec()["config"].get("seconds", 0.0)
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
    score = Score(name="zero", value=0.0, kind="accuracy", chance=0.0, num_samples=1)
    for name, evaluation in evaluations.items():
        judged = DatasetScores(
            dataset=name,
            evaluation_hash=evaluation,
            protocol={},
            weights_digest="00",
            scores=(score,),
        )
        write_once(run.scores_path(name, evaluation), to_json_bytes(judged))
    attempt.log_event("finished")
    return "trained"


if __name__ == "__main__":
    alone = Store(sys.argv[1]).get_run(sys.argv[2])
    alone.write_spec({"config": {"seconds": 0.0}})
    attempt = alone.get_attempt(1)
    atomic_write(attempt.claim_path, b"{}")
    assert execute(alone, {}, attempt, EVALUATIONS, lambda: False) == "trained"
