"""The heartbeat of an evaluation: what it says, and what counts as progress of an attempt."""

from __future__ import annotations

from pathlib import Path

from sweeps.claims.attempt_counts import count_attempts_without_progress
from tests.helpers.small_runs import claimed, opened, tiny
from uniclip.evaluate.progress import EvaluationProgress
from uniclip.evaluation_heartbeat import EvaluationHeartbeat


def test_it_says_how_far_a_fine_tuning_is_and_marks_stored_progress(tmp_path: Path) -> None:
    run = opened(tmp_path, tiny())
    attempt = claimed(run)
    heartbeat = EvaluationHeartbeat(attempt, "dtd_finetune", 6, 6, lambda: False)
    assert not heartbeat.should_stop()
    stored = attempt.read_heartbeat()
    assert stored is not None
    assert (stored.phase, stored.step) == ("evaluating dtd_finetune", 6)
    for is_saved in (False, True):
        heartbeat.report_progress(EvaluationProgress(done=0.5, seconds_left=60, is_saved=is_saved))
        stored = attempt.read_heartbeat()
        assert stored is not None
        assert stored.phase == "evaluating dtd_finetune: 50 % done, about 60 s left"
        count = count_attempts_without_progress(run, run.list_attempts(), ())
        assert count == ((0, 0) if is_saved else (1, 1))
