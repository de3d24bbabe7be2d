"""Submitting to a queue that rejects jobs, or whose jobs die (a real one: tests/slurm)."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.claims.status import MAX_SILENT_DEATHS, RunState, inspect_run
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.launchers.job_submitter import SubmitOptions
from sweeps.launchers.local import MAX_STARTS_WITHOUT_PROGRESS, LocalLauncher
from sweeps.launchers.slurm import MIN_JOB_SECONDS, SlurmLauncher, group_runs
from sweeps.launchers.submissions import MAX_LAUNCH_RETRIES, SubmissionRejected
from sweeps.monitor import status
from sweeps.slurm import FOLLOW_UP_VARIABLE, JOB_NAME_PREFIX, Job, Slurm
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.errors import RetryLater, UserError
from uniclip.store import Outcome, RetryPolicy, RunStatus, Store, SubmissionIntent

LIMIT = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"


def outcome() -> Outcome:
    return Outcome(
        kind="trained",
        step=1,
        attempt=1,
        training_hash="t",
        source_hash="s",
        numerics_class={},
        weights_digest="w",
        best_step=None,
        cost={},
    )


class Cluster(Slurm):
    """A queue in memory that takes so many jobs."""

    config = {"ClusterName": "near", "MaxArraySize": "1001"}  # type: ignore[assignment]

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.queue, self.count = limit, list[Job](), 0
        self.answers, self.released = True, list[str]()

    def list_jobs(self) -> list[Job] | None:
        return self.queue if self.answers else None

    def release(self, job: str) -> bool:
        self.released.append(job)
        return True

    def cancel(self, ids: Sequence[str]) -> None:
        self.queue = [job for job in self.queue if job.id not in ids]

    def sbatch(self, intent: SubmissionIntent, after: Sequence[str]) -> str:
        if len(self.queue) + len(intent.array_tasks) > self.limit:
            raise SubmissionRejected(LIMIT)
        self.count += 1
        several = len(intent.array_tasks) > 1
        for i in range(len(intent.array_tasks)):
            id_ = f"{self.count}_{i}" if several else f"{self.count}"
            name = f"{JOB_NAME_PREFIX}{intent.token}"
            waits = Job(id=id_, state="PENDING", restarts=0, node="", name=name, reason="Priority")
            self.queue.append(waits)
        return str(self.count)

    def starts(self) -> None:
        """All that waits runs now."""
        self.queue = [dataclasses.replace(job, state="RUNNING") for job in self.queue]


class Scene:
    """A sweep of trivial cells and its queue."""

    def __init__(self, store: Store, cells: int, limit: int = 1000) -> None:
        self.store, self.asked, self.cluster = store, planned(cells, 0.0), Cluster(limit)
        self.folder = store.get_sweep(self.asked.plan.sweep_id)
        self.folder.write_plan(self.asked.plan)
        pass_audit(store, self.asked.plan)
        for run, spec in self.asked.specs.items():
            store.get_run(run).write_spec(spec)
        self.runs = list(self.asked.specs)
        self.said: list[str] = []

    def queue(self, pack: int, **order: Any) -> SlurmLauncher:
        launcher = SlurmLauncherConfig(cells_per_job=pack, follow_up=order.pop("follow_up", True))
        options: dict[str, Any] = {"num_threads": 1, "follow_up_argv": ("run",), **order}
        ordered = SubmitOptions(
            store=self.store, sweep_id=self.folder.id, launcher_config=launcher, **options
        )
        queue = SlurmLauncher(ordered, Path("code"), self.said.append)
        queue.submissions.slurm = self.cluster
        queue.submitter.call_sbatch = self.cluster.sbatch  # type: ignore[method-assign]
        return queue

    def states(self) -> dict[str, RunState]:
        wanted = self.asked.plan.required_evaluations()
        return {run: inspect_run(self.store.get_run(run), wanted[run]) for run in self.runs}

    def put(self, queue: SlurmLauncher) -> None:
        states = self.states()
        queue.submit([run for run in self.runs if states[run].is_runnable], states)

    def kinds(self, queue: SlurmLauncher) -> Counter[str]:
        queue.submissions.refresh()
        return Counter(intent.kind for intent, _, _ in queue.submissions.list_active_jobs())


@pytest.mark.parametrize(("limit", "cells"), [(6, 5), (5, 4), (3, 2)])
def test_in_a_full_queue_there_is_a_place_for_who_follows_up(
    tmp_path: Path, limit: int, cells: int
) -> None:
    scene = Scene(Store(tmp_path), 20, limit)
    queue = scene.queue(pack=1)
    scene.put(queue)
    assert scene.kinds(queue) == {"run": cells, "follow_up": 1}
    assert any("the follow-up takes its slot" in line for line in scene.said)


def test_a_cell_that_keeps_dying_does_not_stop_those_beside_it(tmp_path: Path) -> None:
    """All three in one job, whose process dies in the first."""
    scene = Scene(Store(tmp_path), 3)
    queue = scene.queue(pack=3, follow_up=False)
    for number in range(1, MAX_SILENT_DEATHS + 1):
        scene.put(queue)
        dead = dataclasses.replace(process.make_claim_record({}), start_ticks=1)
        assert scene.store.get_run(scene.runs[0]).claim_attempt(number, dead) is not None
        scene.cluster.queue = []
    scene.put(queue)
    (held,) = (runs for _, _, runs in queue.submissions.list_active_jobs())
    assert list(held) == scene.runs[1:]
    assert scene.states()[scene.runs[0]].status == "failed"


def test_jobs_that_claim_nothing_are_not_submitted_for_ever(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 3)
    queue = scene.queue(pack=3, follow_up=False)
    for _ in range(3):
        scene.put(queue)
        scene.cluster.queue = []
    with pytest.raises(UserError, match="jobs end before they claim a run"):
        scene.put(queue)
    scene.put(scene.queue(pack=3, follow_up=False))
    assert scene.kinds(queue) == {"run": 1}, "a person has mended something, and asks again"


@pytest.fixture
def follow_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], SlurmLauncher]:
    """Be the job that follows up on a scene, as it runs."""

    def become(scene: Scene) -> SlurmLauncher:
        live = scene.queue(pack=1).submissions.list_active_jobs()
        (mine,) = (
            job.id for intent, job, _ in live if intent.kind == "follow_up" and job.is_waiting
        )
        scene.cluster.queue = [j for j in scene.cluster.queue if j.id == mine]
        scene.cluster.starts()
        monkeypatch.setenv("SLURM_JOB_ID", mine)
        monkeypatch.setenv(FOLLOW_UP_VARIABLE, "token")
        return scene.queue(pack=1)

    return become


def test_who_follows_up_and_leaves_nobody_behind_comes_back(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    scene = Scene(Store(tmp_path), 4)
    scene.put(scene.queue(pack=1))
    mine = follow_up(scene)
    for answers, limit, what in (
        (True, 0, "sbatch rejected the jobs"),
        (False, 9, "queue does not answer"),
        (True, 2, "sbatch rejected the follow-up job"),
    ):
        scene.cluster.answers, scene.cluster.limit = answers, limit
        with pytest.raises(RetryLater, match=what):
            scene.put(mine)
    scene.cluster.queue = scene.cluster.queue[:1]
    with pytest.raises(RetryLater, match="in jobs that this cluster's queue lacks"):
        mine.submit([], scene.states())


def test_who_follows_up_says_that_jobs_end_in_vain(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    """It is itself in the queue, and no reason to wait."""
    scene = Scene(Store(tmp_path), 2)
    scene.put(scene.queue(pack=1))
    for _ in range(2):
        scene.put(follow_up(scene))
    with pytest.raises(UserError, match="jobs end before they claim a run") as error:
        scene.put(follow_up(scene))
    assert not isinstance(error.value, RetryLater)


def test_an_unheard_queue_is_no_empty_queue(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.queue(pack=3))
    scene.cluster.answers = False
    with pytest.raises(RetryLater, match="does not answer"):
        scene.put(scene.queue(pack=3))
    assert [i.kind for i in scene.folder.read_intents()] == ["run", "follow_up"], "nothing twice"


def test_what_a_dead_controller_was_submitting_is_in_nobodys_hands(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    dead = dataclasses.replace(process.make_claim_record({}), start_ticks=1)
    runs = tuple((run,) for run in scene.runs)
    intent = SubmissionIntent(
        token="t", kind="run", array_tasks=runs, last_attempts={}, submitter=dead
    )
    assert scene.folder.record_intent(intent)
    assert scene.queue(pack=1).submissions.map_runs_to_jobs() == {}
    scene.put(scene.queue(pack=1))
    assert scene.kinds(scene.queue(pack=1)) == {"run": 2, "follow_up": 1}


def test_a_job_that_a_node_could_not_start_is_let_go_again(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    scene.put(scene.queue(pack=1))
    (job,) = scene.cluster.released[:1]
    for restarts, times in ((1, 1), (MAX_LAUNCH_RETRIES, 0)):
        scene.cluster.released.clear()
        changes = {"reason": "launch failed requeued held", "restarts": restarts}
        cells = [dataclasses.replace(j, **changes) for j in scene.cluster.queue if "_" in j.id]
        scene.cluster.queue[:2] = cells
        scene.put(scene.queue(pack=1))
        assert scene.cluster.released == [job] * times
    row = status.CellRow(cell="c", run="r", state=RunState(status=RunStatus.PENDING), job=cells[0])
    assert row.advice == f"scontrol release {job}_0, or run"


def test_a_command_line_has_its_own_follow_up(
    tmp_path: Path, follow_up: Callable[[Scene], SlurmLauncher]
) -> None:
    """One that runs already looked at other words; one that waits would write them down again."""
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.queue(pack=1, follow_up_argv=("run", "seeds=2")))
    newer = scene.queue(pack=1, follow_up_argv=("run", "seeds=3"))
    scene.put(newer)
    words = [
        i.follow_up_argv
        for i, _, _ in newer.submissions.list_active_jobs()
        if i.kind == "follow_up"
    ]
    assert words == [("run", "seeds=3")]
    scene.cluster.starts()
    scene.put(scene.queue(pack=1, follow_up_argv=("run", "seeds=3")))
    assert scene.kinds(newer)["follow_up"] == 2, "the one that runs may have looked before us"


def test_retries_of_different_cells_have_follow_ups_of_their_own(tmp_path: Path) -> None:
    """Neither writes a plan down again, and neither knows what the other was asked."""
    scene = Scene(Store(tmp_path), 3)
    lines = [("run", "seeds=2"), ("retry", "a/0", "seeds=2"), ("retry", "a/1", "seeds=2")]
    for words in lines:
        queue = scene.queue(pack=1, follow_up_argv=words)
        scene.put(queue)
    assert [
        i.follow_up_argv
        for i, _, _ in queue.submissions.list_active_jobs()
        if i.kind == "follow_up"
    ] == lines


def test_slots_that_die_now_and_then_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On one slot, the worker of every cell dies once before the cell completes."""

    class Ended:
        """A slot's process that is over."""

        paths = Namespace(stderr=tmp_path / "err")

        def done(self) -> bool:
            return True

    slots = LocalLauncher(tmp_path, "cpu", 1, lambda proves: lambda: None)
    monkeypatch.setattr(slots, "_start_job", lambda job, slot: Ended())
    states = {f"r{i}": RunState(status=RunStatus.PENDING) for i in range(6)}
    for run in states:
        for attempt in (1, 2):
            slots.submit([run], states)
            states[run] = RunState(status=RunStatus.INTERRUPTED, attempt=attempt)
        states[run] = RunState(status=RunStatus.COMPLETE, outcome=outcome())
    for _ in range(MAX_STARTS_WITHOUT_PROGRESS):
        slots.submit(["r5"], states)
    with pytest.raises(UserError, match="workers end before they claim a run"):
        slots.submit(["r5"], states)


def test_a_retry_does_not_wait_for_the_job_that_failed_the_cell(tmp_path: Path) -> None:
    """It still trains those beside it, and will not look back."""
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.queue(pack=3))
    scene.cluster.starts()
    failed, training = (
        scene.store.get_run(r).claim_attempt(1, process.make_claim_record({}))
        for r in scene.runs[:2]
    )
    assert failed is not None
    assert training is not None
    failed.write_end("failed", "RuntimeError: x")
    again = ((scene.runs[0], 1),)
    queue = scene.queue(pack=3, policy=RetryPolicy(retry_attempts=again))
    for _ in range(2):
        queue.submit([scene.runs[0]], scene.states())
    asked = [
        i
        for i in scene.folder.read_intents()
        if i.retry_policy.retry_attempts == again and i.kind == "run"
    ]
    assert [i.array_tasks for i in asked] == [((scene.runs[0],),)], "once"


def test_an_audit_on_another_kind_of_device_is_made_anew_by_a_job(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    for order in ({"device": "cuda"}, {"device": "cpu"}):
        scene.put(scene.queue(1, follow_up=False, **order))
    audit, *cells = scene.folder.read_intents()
    assert (audit.kind, audit.audit_device) == ("audit", "cuda")
    assert [intent.kind for intent in cells] == ["run"]


# ---- how runs share a job ------------------------------------------------------------------------

RUNS = ["a", "b", "c", "d", "e"]
THIRD = MIN_JOB_SECONDS / 3


@pytest.mark.parametrize(
    ("seconds", "pack", "groups"),
    [
        ({}, 2, ["ab", "cd", "e"]),
        ({}, 9, ["abcde"]),
        (dict.fromkeys(RUNS, 1.0), 1, ["a", "b", "c", "d", "e"]),
        ({}, None, ["a", "b", "c", "d", "e"]),
        (dict.fromkeys(RUNS, 1.0), None, ["abcde"]),
        (dict.fromkeys(RUNS, THIRD), None, ["abc", "de"]),
        (dict.fromkeys(RUNS, 2 * MIN_JOB_SECONDS), None, ["a", "b", "c", "d", "e"]),
        ({"a": THIRD, "b": THIRD, "d": THIRD, "e": 1.0}, None, ["ab", "c", "de"]),
    ],
)
def test_short_runs_share_a_job(
    seconds: dict[str, float], pack: int | None, groups: list[str]
) -> None:
    """None of unknown length shares one unasked."""
    assert ["".join(group) for group in group_runs(RUNS, seconds, pack)] == groups


def test_no_runs_make_no_jobs() -> None:
    assert group_runs([], {}, None) == group_runs([], {}, 3) == []
