"""Tuning: every arm looks for its hyper-parameters with the same trials, in the same space.

Trials are ordinary runs, trained on seeds of their own and scored on the validation split; they are
evaluated on nothing, so no benchmark has a say. What a round came to is published once in the
study's folder (`uniclip.store.StudyFolder`); all else is in the runs, so a controller that is
killed goes on with the same study, and two at once are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Literal, Union

from ablations.plan import plan as plans
from ablations.plan import tuned_arms
from ablations.plan.plan import Planned
from analysis.collect import run_time
from sweeps.claims.claim import look
from sweeps.cli import main
from sweeps.cli.slurm_job import in_follow_up
from sweeps.config import request
from sweeps.config.request import Asked
from sweeps.controller.controller import Conduct
from sweeps.costs import estimate as price
from sweeps.costs import limit, probe
from sweeps.costs.audit_scope import audited, basis
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm
from sweeps.tuning import search_space as spaces
from sweeps.tuning import study as studies
from sweeps.tuning.study import Measured, Points, Study
from uniclip.config import RunConfig, compose
from uniclip.config.binding import bind, plain, setting
from uniclip.errors import UserError
from uniclip.identity import digest
from uniclip.io.atomic import append
from uniclip.io.atomic import replace as write
from uniclip.store import Finding, Plan, Round, StudyFolder, Trial, TunedArm, Tuning

FIRST_SEED = 1_000
"""Tuning seeds are counted from here: the seeds of a table had no say in what was chosen."""
WORST = 0.0
"""What a diverged run scores; validation scores lie in [0, 1]."""
TRIES = 2
"""One that halts while we look, where an earlier round let it, is taken up a second time."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What a tuning is told, beside what a sweep is."""

    trials: int = setting(20, low=1, high=10_000)
    """For each arm."""
    space: str = "optimizer"
    """A file of `conf/space/`."""
    pruner: Literal["none", "median", "hyperband"] = "none"
    tuning_seeds: Union[int, tuple[int, ...]] = 1
    """How many (1000, 1001, ...), or which: a trial's score is the mean over them."""
    at_once: int = setting(1, low=1, high=1_000)
    """Trials of each arm in a round: more keep more machines busy, fewer learn more."""
    study_seed: int = setting(0, low=0)


class Unfinished(Exception):
    """Trials that could not be brought to their rung: one line for the user."""


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One tuning of the arms of a plan."""

    wanted: TuneConfig
    asked: Asked
    planned: Planned
    study: Study
    seeds: tuple[int, ...]

    @cached_property
    def folder(self) -> StudyFolder:
        """Where its rounds are told."""
        content = {**plain(self.study), "seeds": list(self.seeds)}
        name = f"{self.wanted.space}-{digest(content, 8)}"
        return self.asked.store.study(self.planned.plan.sweep, name)

    def estimate(self) -> str:
        """How many runs there will be and how long they should take, in words."""
        plan, study = self.planned.plan, self.study
        runs = study.trials * len(study.arms) * len(self.seeds)
        said = (
            f"{study.trials} trials x {len(study.arms)} arms x {len(self.seeds)} "
            f"seed{'s' * (len(self.seeds) > 1)} = {runs} runs, and {2 * len(plan.cells)} for the "
            "table, default and tuned"
        )
        known = price.prices(self.asked.store, plan)
        if not all(arm in known for arm in study.arms):
            return f"{said}; not measured yet"
        slots = self.asked.settings.slots(plan.base["train"]["threads"])
        each = sum(known[arm].seconds for arm in study.arms) / slots
        most = "about" if study.pruner == "none" else "at most"
        spent = run_time.spoken(each * study.trials * len(self.seeds))
        return f"{said}; the trials take {most} {spent} on {slots} slots"

    def hold(self) -> bool:
        """Refuse a tuning of which nothing is told yet if all of it would take more than
        `max_gpu_hours`: trials, default arms, tuned ones; whether that could be judged by now."""
        if self.folder.round(0) is not None:
            return True
        plan, asked = self.planned.plan, self.asked
        if not in_follow_up():
            probe.forget_failed(asked.store.sweep(plan.sweep))
        wanted, witness = plan.wanted(), Slurm().ending
        states = {run: look(asked.store.run(run), e, witness) for run, e in wanted.items()}
        missing = [run for run, state in states.items() if asked.settings.takes(state)]
        runs = Counter([*missing, *wanted])
        for run in {c.arm: c.run for c in plan.cells}.values():
            runs[run] += self.study.trials * len(self.seeds)
        return limit.hold(asked.store, self.planned, runs, asked.settings)

    def tune(self, display: Display) -> Tuning:
        """Conduct the study to its end; `Unfinished` if runs failed or are not there yet."""

        def measure(number: int, rung: int, points: Points) -> dict[str, dict[int, Measured]]:
            tried = sorted({t for of_arm in points.values() for t in of_arm})
            share = "" if len(self.study.rungs) == 1 else f", to {self.study.rungs[rung]:.0%}"
            display.line(
                f"round {number + 1}: trials {tried[0] + 1} to {tried[-1] + 1} of "
                f"{self.study.trials} for {len(points)} arms{share}"
            )
            return self._measure(number, rung, points, display)

        rounds = studies.conduct(
            self.study, measure, recall=self.folder.round, tell=self.folder.tell
        )
        arms = tuple(self._found(arm, rounds) for arm in self.study.arms)
        check_budgets(self.study, arms, self.planned.configs)
        return Tuning(
            default=self.planned.plan.sweep,
            space=self.wanted.space,
            pruner=self.study.pruner,
            trials=self.study.trials,
            seeds=self.seeds,
            arms=arms,
        )

    def _found(self, arm: str, rounds: Sequence[Round]) -> TunedArm:
        trials = studies.of_arm(rounds, arm)
        best = max((t for t in trials if t.done), key=lambda t: (t.score, -t.number))
        ends = {k: self.study.space[k].edge(v) for k, v in best.values.items()}
        first: Trial | None = trials[0] if self.study.start is not None else None
        return TunedArm(
            arm=arm,
            best=best,
            default=first.score if first is not None and first.done else None,
            trials=len(trials),
            stopped=sum(not t.done for t in trials),
            diverged=sum(t.diverged for t in trials),
            steps=sum(t.steps for t in trials),
            edges={k: end for k, end in ends.items() if end is not None},
        )

    # -- the runs of a round --

    def _measure(
        self, number: int, rung: int, points: Points, display: Display
    ) -> dict[str, dict[int, Measured]]:
        planned = tuned_arms.trials(
            self.planned,
            points,
            sweep=self.folder.sweep_id(number, rung),
            seeds=self.seeds,
            halt=self.study.rungs[rung],
        )
        self._train(planned, display)
        runs: dict[str, list[str]] = {}
        for cell in planned.plan.cells:
            runs.setdefault(cell.arm, []).append(cell.run)
        halt = planned.plan.base["runtime"]["halt"]
        measured: dict[str, dict[int, Measured]] = {}
        for arm, tried in points.items():
            measured[arm] = {}
            for trial in tried:
                name = tuned_arms.trial_name(arm, trial)
                config = _halting(planned.configs[name], halt)
                each = [self._reached(run, config) for run in runs[name]]
                measured[arm][trial] = _mean([m for m in each if m is not None])
        return measured

    def _train(self, planned: Planned, display: Display) -> None:
        """Have every run of a round's plan brought to its rung."""
        self.adopt(planned.plan)
        for _ in range(TRIES):
            lacking = self._lacking(planned)
            if not lacking:
                return
            conduct = Conduct(
                store=self.asked.store,
                planned=tuned_arms.only(planned, lacking),
                settings=self.asked.settings,
                display=display,
                words=self.asked.lasting,
            )
            if not conduct.run():
                raise main.GoesOn
        lacking = self._lacking(planned)
        if lacking:
            state = look(self.asked.store.run(lacking[0]), {})
            again = " (with retry=failed it tries them again)" * (state.kind == "failed")
            raise Unfinished(
                f"{len(lacking)} runs of trials did not get there; {lacking[0]} is {state.kind}: "
                f"{state.reason}; the same command goes on{again}"
            )

    def adopt(self, plan: Plan) -> None:
        """Let a plan of varied arms stand on the audit and the prices of the arms themselves:
        a switch switches the same under any rate."""
        ours = self.asked.store.sweep(self.planned.plan.sweep)
        theirs = self.asked.store.sweep(plan.sweep)
        meant = basis(plan)
        if audited(theirs, meant) or not audited(ours, meant):
            return
        probes = price.probes(self.asked.store, self.planned.plan)
        for arm in plan.arms:
            probe = probes.get(arm.name.rsplit("#", 1)[0])
            if probe is not None:
                append(theirs.probes, {**probe, "arm": arm.name})
        write(theirs.audit, ours.audit.read_bytes())

    def _lacking(self, planned: Planned) -> list[str]:
        halt = planned.plan.base["runtime"]["halt"]
        configs = {c.run: _halting(planned.configs[c.arm], halt) for c in planned.plan.cells}
        return [run for run, config in configs.items() if self._reached(run, config) is None]

    def _reached(self, run_id: str, config: RunConfig) -> Measured | None:
        """What a run came to at `config.last_step`; None if it is not there yet.

        What it came to later plays no part, so a study that is replayed decides as it did.
        """
        run, step = self.asked.store.run(run_id), config.last_step
        outcome = run.outcome()
        if outcome is not None and outcome.kind == "diverged" and outcome.step < step:
            return Measured(score=WORST, steps=outcome.step, diverged=1)
        if outcome is None and (step == config.train.steps or look(run, {}).kind == "running"):
            return None
        for record in run.history():
            if record.get("phase") == "validation" and record.get("step") == step:
                return Measured(score=record["score"], steps=step)
        if outcome is None:
            return None
        raise UserError(f"{run.path} has no validation at step {step}: move it away and run again")


def tuner(overrides: list[str]) -> Tuner:
    """The tuning that these words ask for; `UserError` where it cannot be had."""
    own = [f.name for f in fields(TuneConfig)]
    mine = [word for word in overrides if word.partition("=")[0] in own]
    wanted: TuneConfig = bind(TuneConfig, compose.parse(mine))
    asked = request.asked([word for word in overrides if word not in mine], own)
    asked = replace(asked, words=("tune", *overrides))
    seeds = request.seed_list("tuning_seeds", wanted.tuning_seeds, FIRST_SEED)
    space = spaces.load(wanted.space, asked.folders)
    planned = plans.make(asked.request)
    study = _study(wanted, spaces.fitted(wanted.space, space, planned), planned)
    return Tuner(wanted=wanted, asked=asked, planned=planned, study=study, seeds=seeds)


def _study(wanted: TuneConfig, space: spaces.Space, planned: Planned) -> Study:
    base = compose.flat(planned.plan.base)
    start = {key: base[key] for key in space}
    trains = [config.train for config in planned.configs.values()]
    return Study(
        arms=tuple(planned.configs),
        space=space,
        trials=wanted.trials,
        start=start if all(space[k].holds(v) for k, v in start.items()) else None,
        at_once=wanted.at_once,
        seed=wanted.study_seed,
        pruner=wanted.pruner,
        rungs=studies.rungs(wanted.pruner, min(t.steps // t.validate_every for t in trains)),
    )


def spoken(tuning: Tuning) -> list[str]:
    """What was found, a line an arm, for a terminal."""
    said = []
    for arm in tuning.arms:
        values = ", ".join(f"{key}={value}" for key, value in arm.best.values.items())
        before = "n/a" if arm.default is None else f"{arm.default:.3f}"
        edge = f" (on an edge of the space: {', '.join(arm.edges)})" if arm.edges else ""
        said.append(
            f"{arm.arm}: {values}, trial {arm.best.number + 1} of {arm.trials}; "
            f"validation {before} -> {arm.best.score:.3f}{edge}"
        )
    return said


class QuietDisplay(Display):
    """Of arms that were audited before."""

    def audit(self, findings: Collection[Finding]) -> None:
        """Nothing: the sweep of the default arms has said it."""


def check_budgets(
    study: Study, arms: Collection[TunedArm], configs: Mapping[str, RunConfig]
) -> None:
    """Assert that every arm had the same trials, and the same steps unless scores cut them short.

    Arms whose runs are longer by declaration are compared among themselves.
    """
    assert {t.trials for t in arms} == {study.trials}, "every arm has the same trials"
    if study.pruner == "median":
        return
    by_length: dict[int, set[int]] = {}
    for t in arms:
        if not t.diverged:
            by_length.setdefault(configs[t.arm].train.steps, set()).add(t.steps)
    assert all(len(steps) == 1 for steps in by_length.values()), "every arm has the same steps"


def _halting(config: RunConfig, halt: float | None) -> RunConfig:
    return tuned_arms.with_values(config, {"runtime.halt": halt})


def _mean(each: Sequence[Measured]) -> Measured:
    return Measured(
        score=sum(m.score for m in each) / len(each),
        steps=sum(m.steps for m in each),
        diverged=sum(m.diverged for m in each),
    )
