"""Submissions joined with the queue: what is active, and what killed controllers left."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.claims.status import RunState
from sweeps.launchers.submissions import MAX_LAUNCH_RETRIES
from sweeps.monitor import status
from tests.helpers.slurm_queue import Scene
from uniclip.errors import RetryLater
from uniclip.store import RetryPolicy, RunStatus, Store, SubmissionIntent


def test_a_queue_that_does_not_answer_is_not_taken_for_empty(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.build_launcher(cells_per_job=3))
    scene.cluster.is_answering = False
    with pytest.raises(RetryLater, match="does not answer"):
        scene.put(scene.build_launcher(cells_per_job=3))
    assert [i.kind for i in scene.folder.read_intents()] == ["run", "follow_up"], "nothing twice"


def test_an_intent_of_a_dead_controller_is_abandoned(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    dead = dataclasses.replace(process.make_claim_record({}), start_ticks=1)
    runs = tuple((run,) for run in scene.runs)
    intent = SubmissionIntent(
        token="t", kind="run", array_tasks=runs, last_attempts={}, submitter=dead
    )
    assert scene.folder.record_intent(intent)
    assert scene.build_launcher(cells_per_job=1).submissions.map_runs_to_jobs() == {}
    scene.put(scene.build_launcher(cells_per_job=1))
    assert scene.kinds(scene.build_launcher(cells_per_job=1)) == {"run": 2, "follow_up": 1}


def test_a_job_whose_launch_failed_is_released_again(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    scene.put(scene.build_launcher(cells_per_job=1))
    (job,) = scene.cluster.released[:1]
    for restarts, times in ((1, 1), (MAX_LAUNCH_RETRIES, 0)):
        scene.cluster.released.clear()
        changes: dict[str, Any] = {"reason": "launch failed requeued held", "restarts": restarts}
        cells = [dataclasses.replace(j, **changes) for j in scene.cluster.queue if "_" in j.id]
        scene.cluster.queue[:2] = cells
        scene.put(scene.build_launcher(cells_per_job=1))
        assert scene.cluster.released == [job] * times
    row = status.CellRow(cell="c", run="r", state=RunState(status=RunStatus.PENDING), job=cells[0])
    assert row.advice == f"scontrol release {job}_0, or run"


def test_a_retry_does_not_wait_for_the_job_that_failed_the_cell(tmp_path: Path) -> None:
    """That job still trains the runs that share it, and does not return to the failed one."""
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.build_launcher(cells_per_job=3))
    scene.cluster.starts()
    failed, training = (
        scene.store.get_run(r).claim_attempt(1, process.make_claim_record({}))
        for r in scene.runs[:2]
    )
    assert failed is not None
    assert training is not None
    failed.write_end("failed", "RuntimeError: x")
    retry_attempts = ((scene.runs[0], 1),)
    launcher = scene.build_launcher(
        cells_per_job=3, policy=RetryPolicy(retry_attempts=retry_attempts)
    )
    for _ in range(2):
        launcher.submit([scene.runs[0]], scene.states())
    intents = [
        i
        for i in scene.folder.read_intents()
        if i.retry_policy.retry_attempts == retry_attempts and i.kind == "run"
    ]
    assert [i.array_tasks for i in intents] == [((scene.runs[0],),)], "once"


def test_the_same_sweep_in_another_store_has_jobs_of_other_names(tmp_path: Path) -> None:
    scenes = [Scene(Store(tmp_path / name), 2) for name in ("a", "b")]
    assert scenes[0].folder.id == scenes[1].folder.id
    tokens = []
    for scene in scenes:
        scene.put(scene.build_launcher(cells_per_job=2))
        tokens.append({intent.token for intent in scene.folder.read_intents()})
    assert tokens[0]
    assert tokens[1]
    assert not tokens[0] & tokens[1]
    assert scenes[0].folder.get_submission_key() == scenes[0].folder.get_submission_key()
