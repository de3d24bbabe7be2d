"""Arrays of jobs on a Slurm cluster, through submitit; one cell an element, or several short ones.

A controller submits what is open and not in the queue already, and one small job that follows up
when all of it has ended, by running the same command again from the same code.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.claims import process
from sweeps.claims.claim import State
from sweeps.cli.slurm_job import in_follow_up
from sweeps.config.request import SlurmLauncher
from sweeps.costs import estimate
from sweeps.costs.audit_scope import Basis, audited
from sweeps.launchers.submissions import Refused, Submissions
from sweeps.slurm import OURS, Slurm, requests_forgotten, this_job
from uniclip.errors import NotNow, UserError
from uniclip.identity import training_hash
from uniclip.store import Intent, Store, SweepFolder

LIMITS = ("limit", "policy", "temporarily unable", "temporarily unavailable")
"""Words of sbatch's refusals that fewer jobs, or later ones, may not meet."""
SHORT_JOB_SECONDS = 600.0
"""Cells shorter than this share a job until it is so long, where they have been measured."""
FOLLOW_UP_MINUTES, FOLLOW_UP_NOTICE = 60, 60


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a controller asks of the queue."""

    store: Store
    sweep: str
    launcher: SlurmLauncher
    threads: int
    """Compute threads of a training."""
    device: str = "cpu"
    """That trainings ask for."""
    words: tuple[str, ...]
    """The overrides of the command line, for who follows up."""
    again: tuple[tuple[str, int], ...] = ()
    forced: tuple[tuple[str, int], ...] = ()
    stays: bool = False


class Queue:
    """A crew on a cluster."""

    def __init__(self, order: Order, code: Path, say: Callable[[str], None]) -> None:
        """code: the snapshot that jobs import from; say: prints a line for the user."""
        self.order, self.code, self.say = order, code, say
        self.stays, self.poll_seconds = order.stays, order.launcher.poll_seconds
        self.folder: SweepFolder = order.store.sweep(order.sweep)
        self.submissions = Submissions(self.folder, Slurm())
        self.meant = Basis(training=training_hash(), device=order.device)
        self._unasked = in_follow_up()

    def put(self, opened: list[str], states: Mapping[str, State]) -> None:
        """Submit what is open and in no job, and somebody who follows up.

        Raises:
            UserError: Slurm takes nothing, or jobs end before they take a cell.
            NotNow: Slurm does not answer, or takes nothing now; or who follows up has no follower.
        """
        self.submissions.mend()
        self._give_up(opened)
        queued = self.submissions.queued({*self.order.again, *self.order.forced})
        free = [run for run in opened if run not in queued]
        if free and not audited(self.folder, self.meant):
            if self._unasked and self.submissions.unproven():
                raise self._in_vain()
            self.prove(free[0])
        elif free:
            attempts = {run: state.attempt for run, state in states.items()}
            vain = {r for r in free if self._unasked and self.submissions.fruitless(r, attempts)}
            if vain.issuperset(free) and not self._others():
                raise self._in_vain()
            self._submit_cells([run for run in free if run not in vain], states)
        if self.order.launcher.follow_up and not self.stays:
            self._submit_follow_up()
            self._hand_over(opened)
        self._unasked = True

    def _others(self) -> list[str]:
        """Jobs of this sweep that wait or run, but for the one that we are in."""
        mine = this_job()
        return [job.id for _, job, _ in self.submissions.live() if job.id != mine]

    def _in_vain(self) -> UserError:
        return UserError(f"jobs end before they take a cell: read the logs in {self.folder.slots}")

    def _hand_over(self, opened: Sequence[str]) -> None:
        """`NotNow` where a follow-up leaves nobody behind who would go on; a person is told."""
        if self._others():
            return
        if in_follow_up():
            raise NotNow("what is left runs where this cluster's queue does not show it")
        if opened:
            self.say("another command submits these cells: see status, and run this again if not")

    def prove(self, run: str) -> None:
        """Submit a job that proves and measures the arms, unless one is there; `run`: any run.

        Raises:
            UserError: Slurm does not take it.
        """
        proofs = [i for i, _, _ in self.submissions.live() if i.kind == "prove"]
        asked = {Basis(training=i.submitter.training, device=i.device) for i in proofs}
        if self.meant in asked:
            return
        try:
            job = self._submit("prove", ((run,),), {})
        except Refused as refused:
            raise UserError(
                f"Slurm refused the job that proves the arms: {last(refused)}"
            ) from None
        if job is not None:
            self.say(f"job {job}: takes a few steps of every arm")

    def busy(self) -> bool:
        """Whether a job of this sweep waits or runs, ours and follow-ups apart."""
        return any(i.kind != "follow" for i, _, _ in self.submissions.live())

    def stop(self) -> None:
        """Nothing: the jobs go on, and who comes next finds them."""

    def _give_up(self, opened: Sequence[str]) -> None:
        """Cancel the jobs of attempts that were declared dead: one that hangs would keep its node
        until its time limit, and from the cells that share the job."""
        forced = [(run, n) for run, n in self.order.forced if run in opened]
        owners = [self.order.store.run(run).attempt(n).owner() for run, n in forced]
        slurm = self.submissions.slurm
        held = {o.job for o in owners if o is not None and o.cluster == slurm.cluster}
        doomed = [job.id for _, job, _ in self.submissions.live() if job.id in held]
        if doomed:
            slurm.cancel(doomed)
            self.say(f"cancelled {', '.join(doomed)}: declared dead by force")

    # -- what is submitted --

    def _submit_cells(self, runs: list[str], states: Mapping[str, State]) -> None:
        """Arrays as long as the cluster takes them; what it refuses is left to the follow-up."""
        packs = packed(runs, self._seconds(), self.order.launcher.pack)
        size = min(len(packs), self.submissions.slurm.longest_array)
        while packs:
            chunk = packs[:size]
            attempts = {run: states[run].attempt for runs in chunk for run in runs}
            try:
                job = self._submit("run", tuple(chunk), attempts)
            except Refused as refused:
                if size > 1 and _limited(refused):
                    size //= 2
                    continue
                self._left(refused, packs)
                return
            if job is not None:
                cells = sum(map(len, chunk))
                self.say(f"job {job}: {cells} cells in {len(chunk)} jobs")
            packs = packs[size:]

    def _left(self, refused: Refused, packs: Sequence[Sequence[str]]) -> None:
        """Say what was left out; an error if nothing of the sweep is in the queue at all."""
        if not self._others():
            error = NotNow if _limited(refused) else UserError
            raise error(f"Slurm refused the jobs: {last(refused)}")
        cells = sum(map(len, packs))
        self.say(f"{cells} cells are left for later: Slurm refused them ({last(refused)})")

    def _submit_follow_up(self, room: bool = False) -> None:
        """room: a cell has given up its place already."""
        live, ours = self.submissions.live(), self.order.words
        waiting = {j.id: i.words for i, j, _ in live if i.kind == "follow" and j.waits}
        alike = {job: words for job, words in waiting.items() if _named(words) == _named(ours)}
        older = [job for job, words in alike.items() if words != ours]
        if ours in waiting.values() or (older and in_follow_up()):
            return
        if older:  # it would write the plan of another command line down again
            self.submissions.slurm.cancel(older)
        waited = sorted({j.id.split("_")[0] for i, j, _ in live if i.kind != "follow"})
        if not waited:
            return
        try:
            job = self._submit("follow", ((),), {}, after=waited)
        except Refused as refused:
            if not room and self._make_room(refused):
                self._submit_follow_up(room=True)
                return
            if in_follow_up():
                raise NotNow(f"Slurm refused who follows up: {last(refused)}") from None
            again = "run this command again when the jobs have ended"
            self.say(f"no follow-up ({last(refused)}): {again}")
            return
        if job is not None:
            self.say(f"job {job}: follows up when they have ended, and writes the report")

    def _make_room(self, refused: Refused) -> bool:
        """Where the queue is full to the brim, the last job that waits leaves it: without a
        follow-up nobody would submit the rest. Whether one did."""
        waiting = [job.id for i, job, _ in self.submissions.live() if i.kind == "run" and job.waits]
        if len(waiting) < 2 or not _limited(refused):
            return False
        self.submissions.slurm.cancel(waiting[-1:])
        self.submissions.refresh()
        self.say(f"job {waiting[-1]} is left for later: who follows up takes its place")
        return True

    def _submit(
        self,
        kind: Any,
        elements: tuple[tuple[str, ...], ...],
        attempts: dict[str, int],
        after: Sequence[str] = (),
    ) -> str | None:
        intent = Intent(
            token="",
            kind=kind,
            elements=elements,
            attempts=attempts,
            submitter=process.owner({}),
            words=self.order.words,
            again=self.order.again,
            forced=self.order.forced,
            unasked=self._unasked,
            signal_seconds=self.order.launcher.signal_seconds,
            device=self.meant.device,
        )
        return self.submissions.submit(intent, lambda named: self._sbatch(named, after))

    def _sbatch(self, intent: Intent, after: Sequence[str]) -> str:
        """One sbatch call; the id of the job, or of the array."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        launcher, store = self.order.launcher, str(self.order.store.root)
        words = [store, self.order.sweep, intent.token]

        class Executor(SlurmExecutor):
            """submitit's, but for what a job starts: our own front door, without a pickle."""

            @property
            def _submitit_command_str(self) -> str:
                return f"{self.python} -u -m sweeps.cli.slurm_job {shlex.join(words)}"

        executor = Executor(self.folder.slots, python=launcher.python)
        executor.update_parameters(**requested(launcher, intent, self.code, self.order.threads))
        if after:
            executor.update_parameters(dependency="afterany:" + ":".join(after))
        try:
            with _requests_forgotten(), executor.batch():
                submitted = [executor.submit(print, *runs) for runs in intent.elements]
        except (FailedJobError, FailedSubmissionError) as error:
            raise Refused(str(error)) from None
        return str(submitted[0].job_id).split("_")[0]

    def _seconds(self) -> dict[str, float]:
        """Run -> how long it should take, where that is known."""
        plan = self.folder.plan()
        assert plan is not None, "a plan is written before anything is submitted"
        known = estimate.prices(self.order.store, plan)
        return {c.run: known[c.arm].seconds for c in plan.cells if c.arm in known}


def _named(words: Sequence[str]) -> list[str]:
    """The verb of a command line, and the cells that it names."""
    return [word for word in words if "=" not in word]


def _limited(refused: Refused) -> bool:
    return any(word in str(refused).lower() for word in LIMITS)


def last(refused: Refused) -> str:
    """The end of what sbatch said, in one line."""
    return " ".join(str(refused).split())[-200:]


def packed(
    runs: Sequence[str], seconds: Mapping[str, float], pack: int | None
) -> list[tuple[str, ...]]:
    """Runs in groups of `pack`, or (None) so many that a group is not too short for a job."""
    if pack is not None:
        return [tuple(runs[i : i + pack]) for i in range(0, len(runs), pack)]
    groups: list[tuple[str, ...]] = []
    room = 0.0
    for run in runs:
        takes = seconds.get(run, SHORT_JOB_SECONDS)
        if groups and takes <= room:
            groups[-1] = (*groups[-1], run)
            room -= takes
        else:
            groups.append((run,))
            room = SHORT_JOB_SECONDS - takes
    return groups


def requested(launcher: SlurmLauncher, intent: Intent, code: Path, threads: int) -> dict[str, Any]:
    """What is asked of sbatch for an intent, in submitit's words."""
    small = intent.kind == "follow"
    if small:
        launcher = replace(
            launcher,
            partition=launcher.follow_up_partition or launcher.partition,
            nodes=1,
            gpus_per_node=None,
            tasks_per_node=1,
            gres=None,
            cpus_per_task=1,
            minutes=FOLLOW_UP_MINUTES,
            signal_seconds=FOLLOW_UP_NOTICE,
        )
    cpus = launcher.cpus_per_task or threads
    asked = {
        "job_name": f"{OURS}{intent.token}",
        "partition": launcher.partition,
        "account": launcher.account,
        "qos": launcher.qos,
        "constraint": launcher.constraint,
        "gres": launcher.gres,
        "nodes": launcher.nodes,
        "gpus_per_node": launcher.gpus_per_node,
        "ntasks_per_node": launcher.tasks,
        "cpus_per_task": cpus,
        "mem": None if launcher.mem_gb is None else f"{round(launcher.mem_gb * 1024)}MB",
        "time": launcher.minutes,
        "array_parallelism": launcher.array_parallelism,
        "signal_delay_s": launcher.signal_seconds,
        "setup": [*_surroundings(code, launcher.offline), *launcher.setup],
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"hold": True, "requeue": True, **launcher.extra},
    }
    return {name: value for name, value in asked.items() if value is not None}


def _surroundings(code: Path, offline: bool) -> list[str]:
    """Shell lines: import from the snapshot, whatever folder the job starts in."""
    lines = [
        f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
    ]
    return [*lines, "export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"] if offline else lines


@contextmanager
def _requests_forgotten() -> Iterator[None]:
    """A controller inside a job hands nothing of that job's requests on."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(requests_forgotten(before))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
