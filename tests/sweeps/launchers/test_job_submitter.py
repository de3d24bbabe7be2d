"""The intent of a submission, and how rejections are classified."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.launchers.job_submitter import format_rejection, is_limit_rejection
from sweeps.launchers.submissions import SubmissionRejected
from tests.helpers.slurm_queue import LIMIT, Scene
from uniclip.store import RetryPolicy, Store


def test_an_intent_records_what_its_jobs_need(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    policy = RetryPolicy(retry_attempts=((scene.runs[0], 1),))
    submitter = scene.build_launcher(cells_per_job=1, policy=policy, device="cuda").submitter
    tasks = ((scene.runs[0],), (scene.runs[1],))
    assert submitter.submit("run", tasks, {scene.runs[0]: 1}) == "1"
    (intent,) = scene.folder.read_intents()
    assert (intent.kind, intent.array_tasks, intent.retry_policy) == ("run", tasks, policy)
    assert (intent.last_attempts, intent.audit_device) == ({scene.runs[0]: 1}, "cuda")
    assert intent.signal_delay_s == submitter.options.launcher_config.signal_delay_s
    assert not intent.automatic


def test_the_job_of_this_process_is_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(Store(tmp_path), 1)
    submitter = scene.build_launcher(cells_per_job=1).submitter
    job_id = submitter.submit("run", ((scene.runs[0],),), {})
    assert job_id is not None
    assert submitter.list_other_jobs() == [job_id]
    monkeypatch.setenv("SLURM_JOB_ID", job_id)
    assert submitter.list_other_jobs() == []


@pytest.mark.parametrize(
    ("message", "is_limit"),
    [
        (LIMIT, True),
        ("sbatch: error: AssocMaxSubmitJobLimit", True),
        ("Resource temporarily unavailable", True),
        ("sbatch: error: Invalid account or partition", False),
        ("Requested time limit is invalid (missing or exceeds some limit)", False),
    ],
)
def test_only_rejections_by_a_limit_may_pass_later(message: str, is_limit: bool) -> None:
    assert is_limit_rejection(SubmissionRejected(message)) == is_limit


def test_a_rejection_is_shortened_to_one_line() -> None:
    text = format_rejection(SubmissionRejected("x" * 300 + "\n  the\nend"))
    assert text.endswith("x the end")
    assert len(text) == 200
