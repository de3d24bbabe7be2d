"""A job on Slurm: it proves the arms, executes its cells, or follows up on the sweep.

What is pickled is the store's path, a sweep id, a token, run ids and the job's kind. A job that is
asked to stop while it may run on (preemption, time limit) saves, and puts itself back in the queue;
the same pickle then starts again and continues from what the store says.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Literal

from sweeps import scheduler, snapshot
from sweeps.worker import Stop, Worker, prove, proven
from uniclip.identity import ROOT
from uniclip.store import Intent, Plan, Store

FOLLOWS = "UNICLIP_FOLLOWS_UP"
"""Set in the environment of a follow-up."""
SIGNAL_SECONDS = 150
"""Slurm may signal a time limit up to a minute earlier than it was asked to."""


@dataclass(frozen=True)
class SlurmJob:
    """One element of a submission."""

    store: str
    sweep: str
    token: str
    kind: Literal["run", "prove", "follow"]
    runs: tuple[str, ...]

    def __call__(self) -> None:
        stop = Stop()
        stop.why = reason
        stop.listen()
        store = Store(self.store)
        if store.code(ROOT.name) == ROOT:
            snapshot.check(ROOT)
        folder = store.sweep(self.sweep)
        plan, intent = folder.plan(), folder.intent(self.token)
        assert plan is not None, "a plan is written before anything is submitted"
        assert intent is not None, "and so is the intent"
        if self.kind != "run" and os.environ.get("SLURM_PROCID", "0") != "0":
            return  # one process is enough for that
        if self.kind == "follow":
            follow_up(store, intent)
        elif self.kind == "prove":
            if not proven(folder):
                prove(store, plan)
        else:
            self._execute(store, plan, intent, stop)

    def _execute(self, store: Store, plan: Plan, intent: Intent, stop: Stop) -> None:
        worker = Worker(store=store, plan=plan, stop=stop, again=intent.again, forced=intent.forced)
        if tasks() == 1:
            self._take(worker)
            return
        from submitit.helpers import TorchDistributedEnvironment  # here: it is for several

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        entry = worker.entry
        if entry.join(worker.run_only) == 0:
            worker.claimed = entry.share
            self._take(worker)
            entry.share(None)
        else:
            while (run := entry.share()) is not None:
                entry.assist(store.run(run), worker.run_only, stop)
        entry.leave()

    def _take(self, worker: Worker) -> None:
        """Take this element's runs, one after another; then say how it went, as Slurm sees it."""
        failed = []
        for run in self.runs:
            if not worker.stop() and worker.take(run) == "failed":
                failed.append(run)
                if tasks() > 1:
                    break  # the others stand in the middle of it: only an end frees them
        if worker.stop():
            put_back()
        if failed:
            logs = worker.store.root / "runs"
            raise RuntimeError(f"failed: {', '.join(failed)}; their logs are in {logs}")


def tasks() -> int:
    """Processes that share this job."""
    return int(os.environ.get("SLURM_NTASKS", 1))


def reason() -> str | None:
    """Why Slurm asks this job to stop, as far as it says."""
    job = scheduler.this_job()
    facts = scheduler.shown(job) if job else None
    if not facts:
        return None
    state = facts.get("JobState", "")
    if state in scheduler.WORDS:
        return scheduler.WORDS[state]
    if facts.get("PreemptTime", "None") not in ("None", "Unknown"):
        return "preempted"
    left = _seconds_until(facts.get("EndTime", ""))
    return "timed out" if left is not None and left < SIGNAL_SECONDS else None


def put_back() -> None:
    """Requeue this job if Slurm still has it as running; else it was cancelled, and stays so."""
    job = scheduler.this_job()
    facts = scheduler.shown(job) if job else None
    if job and facts and facts.get("JobState") == "RUNNING":
        scheduler.requeue(job)


def follow_up(store: Store, intent: Intent) -> None:
    """Run the command line of the sweep again: it submits what is open, or reports."""
    from sweeps import cli

    os.environ[FOLLOWS] = intent.token
    status = cli.main([*intent.words, f"store={store.root}"])
    if status in (cli.USER_ERROR, cli.INTERRUPTED):
        raise RuntimeError(f"the follow-up ended with status {status}")


def _seconds_until(stamp: str) -> float | None:
    try:
        return time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) - time.time()
    except ValueError:
        return None
