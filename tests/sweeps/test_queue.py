"""What is submitted to a queue that says no, or whose jobs die (a real one: tests/slurm)."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trivial import planned

from sweeps import claims, process
from sweeps.claims import State
from sweeps.launchers.local import FRUITLESS_STARTS, Slots
from sweeps.launchers.slurm import Order, Queue
from sweeps.scheduler import OURS, Job, Slurm
from sweeps.settings import SlurmLauncher
from sweeps.submissions import Refused
from uniclip.errors import UserError
from uniclip.store import Intent, Outcome, Store, as_json, replace

LIMIT = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy"


def outcome() -> Outcome:
    return Outcome(
        kind="trained", step=1, attempt=1, training="t", source="s", numerics={}, weights="w",
        best_step=None, cost={},
    )  # fmt: skip


class Cluster(Slurm):
    """A queue in memory that takes so many jobs."""

    facts = {"ClusterName": "near", "MaxArraySize": "1001"}  # type: ignore[assignment]

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.queue, self.count = limit, list[Job](), 0

    def jobs(self) -> list[Job]:
        return self.queue

    def release(self, job: str) -> bool:
        return True

    def cancel(self, ids: Sequence[str]) -> None:
        self.queue = [job for job in self.queue if job.id not in ids]

    def sbatch(self, intent: Intent, after: Sequence[str]) -> str:
        if len(self.queue) + len(intent.elements) > self.limit:
            raise Refused(LIMIT)
        self.count += 1
        several = len(intent.elements) > 1
        for i in range(len(intent.elements)):
            id_ = f"{self.count}_{i}" if several else f"{self.count}"
            name = f"{OURS}{intent.token}"
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
        self.folder = store.sweep(self.asked.plan.sweep)
        self.folder.write_plan(self.asked.plan)
        replace(self.folder.audit, as_json({"findings": []}))
        for run, spec in self.asked.specs.items():
            store.run(run).publish_spec(spec)
        self.runs = list(self.asked.specs)
        self.said: list[str] = []

    def queue(self, pack: int, **order: Any) -> Queue:
        launcher = SlurmLauncher(pack=pack, follow_up=order.pop("follow_up", True))
        asked: dict[str, Any] = {"threads": 1, "words": ("run",), **order}
        ordered = Order(store=self.store, sweep=self.folder.id, launcher=launcher, **asked)
        queue = Queue(ordered, Path("code"), self.said.append)
        queue.submissions.slurm = self.cluster
        queue._sbatch = self.cluster.sbatch  # type: ignore[method-assign]
        return queue

    def states(self) -> dict[str, State]:
        wanted = self.asked.plan.wanted()
        return {run: claims.look(self.store.run(run), wanted[run]) for run in self.runs}

    def put(self, queue: Queue) -> None:
        states = self.states()
        queue.put([run for run in self.runs if states[run].open], states)

    def kinds(self, queue: Queue) -> Counter[str]:
        return Counter(intent.kind for intent, _, _ in queue.submissions.live())


@pytest.mark.parametrize(("limit", "cells"), [(6, 5), (5, 4), (3, 2)])
def test_in_a_full_queue_there_is_a_place_for_who_follows_up(
    tmp_path: Path, limit: int, cells: int
) -> None:
    scene = Scene(Store(tmp_path), 20, limit)
    queue = scene.queue(pack=1)
    scene.put(queue)
    assert scene.kinds(queue) == {"run": cells, "follow": 1}
    assert any("who follows up takes its place" in line for line in scene.said)


def test_a_cell_that_keeps_dying_does_not_stop_those_beside_it(tmp_path: Path) -> None:
    """All three in one job, whose process dies in the first."""
    scene = Scene(Store(tmp_path), 3)
    queue = scene.queue(pack=3, follow_up=False)
    for number in range(1, claims.DEATHS + 1):
        scene.put(queue)
        dead = dataclasses.replace(process.owner({}), started=1)
        assert scene.store.run(scene.runs[0]).claim(number, dead) is not None
        scene.cluster.queue = []
    scene.put(queue)
    (held,) = (runs for _, _, runs in queue.submissions.live())
    assert list(held) == scene.runs[1:]
    assert scene.states()[scene.runs[0]].kind == "failed"


def test_jobs_that_claim_nothing_are_not_submitted_for_ever(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 3)
    queue = scene.queue(pack=3, follow_up=False)
    for _ in range(3):
        scene.put(queue)
        scene.cluster.queue = []
    with pytest.raises(UserError, match="jobs end before they take a cell"):
        scene.put(queue)


def test_slots_that_die_now_and_then_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On one slot, the worker of every cell dies once before the cell completes."""

    class Ended:
        """A slot's process that is over."""

        paths = Namespace(stderr=tmp_path / "err")

        def done(self) -> bool:
            return True

    slots = Slots(tmp_path, "cpu", 1, lambda proves: lambda: None)
    monkeypatch.setattr(slots, "_start", lambda job, slot: Ended())
    states = {f"r{i}": State(kind="planned") for i in range(6)}
    for run in states:
        for attempt in (1, 2):
            slots.put([run], states)
            states[run] = State(kind="interrupted", attempt=attempt)
        states[run] = State(kind="complete", outcome=outcome())
    for _ in range(FRUITLESS_STARTS):
        slots.put(["r5"], states)
    with pytest.raises(UserError, match="workers end before they take a cell"):
        slots.put(["r5"], states)


def test_a_retry_does_not_wait_for_the_job_that_failed_the_cell(tmp_path: Path) -> None:
    """It still trains those beside it, and will not look back."""
    scene = Scene(Store(tmp_path), 3)
    scene.put(scene.queue(pack=3))
    scene.cluster.starts()
    failed, training = (scene.store.run(r).claim(1, process.owner({})) for r in scene.runs[:2])
    assert failed is not None
    assert training is not None
    failed.end("failed", "RuntimeError: x")
    again = ((scene.runs[0], 1),)
    queue = scene.queue(pack=3, again=again)
    for _ in range(2):
        queue.put([scene.runs[0]], scene.states())
    asked = [i for i in scene.folder.intents() if i.again == again and i.kind == "run"]
    assert [i.elements for i in asked] == [((scene.runs[0],),)], "once"
