"""A job on Slurm: it proves the arms, executes its cells, or follows up on the sweep.

    python -m sweeps.cli.slurm_job <store> <sweep id> <token>

It reads what it is from its token's intent: nothing is unpickled, no import but the cell's own
is paid. A job that is asked to stop while it may run on (preemption, time limit) saves, and
puts itself back in the queue; there it starts again and continues from what the store says.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sweeps import slurm
from sweeps.costs.audit_scope import Basis
from sweeps.launchers import code_snapshot
from sweeps.launchers.worker import STOP_SIGNALS, Stop, Worker, prove
from uniclip.config import plugins
from uniclip.identity import ROOT
from uniclip.store import Intent, Plan, Store

FOLLOWS = "UNICLIP_FOLLOWS_UP"
"""Set in the environment of a follow-up."""
EARLY_SECONDS = slurm.EARLY_SECONDS + 30
"""So much earlier than asked may a signal be that is still one of the time limit."""
TRY_LATER = 75
"""What a follow-up's command line ends with where the same may do later (EX_TEMPFAIL)."""
RETURNS = 720
"""So often a follow-up comes back (Slurm starts what was requeued two minutes later): a day."""
UNHEARD_SECONDS = 60.0
"""Between two questions to a Slurm that does not answer."""


def in_follow_up() -> bool:
    """Whether this process follows up, and no person waits for it."""
    return FOLLOWS in os.environ


@dataclass(frozen=True)
class SlurmJob:
    """One element of a submission."""

    store: Store
    intent: Intent
    plan: Plan
    runs: tuple[str, ...]

    def __call__(self) -> None:
        stop = Stop()
        stop.why = partial(reason, self.intent.signal_seconds + EARLY_SECONDS)
        stop.listen()
        plugins.use(self.plan.plugins)
        if self.store.code(ROOT.name) == ROOT:
            code_snapshot.check(ROOT)
        if self.intent.kind != "follow":
            self._execute(stop)
        elif os.environ.get("SLURM_PROCID", "0") == "0":
            follow_up(self.store, self.intent)

    def _execute(self, stop: Stop) -> None:
        again, forced = self.intent.again, self.intent.forced
        worker = Worker(store=self.store, plan=self.plan, stop=stop, again=again, forced=forced)
        if tasks() == 1:
            self._act(worker)
            return
        try:
            self._share(worker, stop)
        except BaseException:
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # an orderly end would wait for the others, who wait for this process

    def _share(self, worker: Worker, stop: Stop) -> None:
        """Be one of the processes that do this element's work together."""
        from submitit.helpers import TorchDistributedEnvironment  # here: it is for several

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        entry = worker.entry
        rank = entry.join(self.plan.base)
        if self.intent.kind == "prove":
            self._act(worker)
        elif rank == 0:
            worker.claimed = entry.share
            self._act(worker)
            entry.share(None)
        else:
            while (run := entry.share()) is not None:
                entry.assist(self.store.run(run), worker.run_only(run), stop)
        entry.leave()

    def _act(self, worker: Worker) -> None:
        """Prove the arms; or take this element's runs, one after another, and then say how it went,
        as Slurm sees it."""
        if self.intent.kind == "prove":
            device = self.intent.device or self.plan.base["runtime"]["device"]
            training = self.intent.submitter.training
            prove(self.store, self.plan, Basis(training=training, device=device))
            return
        failed = []
        for run in self.runs:
            ended = None if worker.stop() else worker.take(run)
            if ended == "failed" or (ended == "interrupted" and not worker.stop()):
                failed.append(run)
                if tasks() > 1:
                    break  # the others stand in the middle of it: only an end frees them
        if worker.stop():
            put_back()
        if failed:
            logs = worker.store.root / "runs"
            raise RuntimeError(f"failed: {', '.join(failed)}; their logs are in {logs}")


def main(words: Sequence[str]) -> None:
    """Be the element of a submission that this Slurm job is."""
    root, sweep, token = words
    store = Store(root)
    folder = store.sweep(sweep)
    plan, intent = folder.plan(), folder.intent(token)
    assert plan is not None, "a plan is written before anything is submitted"
    assert intent is not None, "and so is the intent"
    element = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    SlurmJob(store, intent, plan, intent.elements[element])()


def tasks() -> int:
    """Processes that share this job."""
    return int(os.environ.get("SLURM_NTASKS", 1))


def reason(notice: float) -> str | None:
    """Why Slurm asks this job to stop, as far as it says; a time limit is told within `notice`
    seconds of it."""
    job = slurm.this_job()
    facts = slurm.shown(job) if job else None
    if not facts:
        return None
    state = facts.get("JobState", "")
    if state in slurm.WORDS:
        return slurm.WORDS[state]
    if facts.get("PreemptTime", "None") not in ("None", "Unknown"):
        return "preempted"
    left = _seconds_until(facts.get("EndTime", ""))
    return "timed out" if left is not None and left < notice else None


def put_back() -> bool:
    """Requeue this job if Slurm still has it as running; else it was cancelled, and stays so.
    Whether Slurm has heard it."""
    job = slurm.this_job()
    facts = slurm.shown(job) if job else {}
    if job and facts and facts.get("JobState") == "RUNNING":
        return slurm.requeue(job)
    return facts is not None


def follow_up(store: Store, intent: Intent) -> None:
    """Run the command line of the sweep again: it submits what is open, or reports.

    Where it leaves nobody behind who would go on, this job itself comes back later.
    """
    from sweeps.cli import main as cli

    os.environ[FOLLOWS] = intent.token
    for number in STOP_SIGNALS:  # as Ctrl-C: a report that takes too long is begun again
        signal.signal(number, signal.default_int_handler)
    status = cli.main([*intent.words, f"store={store.root}"], not_now=TRY_LATER)
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if status in (TRY_LATER, cli.INTERRUPTED) and slurm.restart_count() < RETURNS:
        print("this job comes back later", flush=True)
        while not put_back():
            time.sleep(UNHEARD_SECONDS)
    elif status in (cli.USER_ERROR, cli.INTERRUPTED, TRY_LATER):
        raise RuntimeError(f"the follow-up ended with status {status}")


def _seconds_until(stamp: str) -> float | None:
    try:
        return time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) - time.time()
    except ValueError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
