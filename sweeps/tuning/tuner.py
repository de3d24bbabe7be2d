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
from ablations.plan.plan import ResolvedPlan
from analysis.collect import run_time
from sweeps.claims.claim import inspect_run
from sweeps.config import request
from sweeps.config.request import SweepRequest
from sweeps.config.schema import resolve_seeds
from sweeps.controller.controller import Detached, SweepController
from sweeps.costs import estimate as price
from sweeps.costs import limit, probe
from sweeps.costs.audit_scope import compute_audit_key, has_audit
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm, in_follow_up
from sweeps.tuning import search_space as spaces
from sweeps.tuning import study as studies
from sweeps.tuning.study import Study, TrialParams, TrialResult
from uniclip.config import RunConfig, compose
from uniclip.config.binding import bind, config_field, to_builtins
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl
from uniclip.io.atomic import atomic_write as write
from uniclip.io.hashing import digest
from uniclip.store import AuditCheck, Plan, StudyFolder, Trial, TunedArm, Tuning, TuningRound

FIRST_TUNING_SEED = 1_000
"""Tuning seeds are counted from here: the seeds of a table had no say in what was chosen."""
DIVERGED_SCORE = 0.0
"""What a diverged run scores; validation scores lie in [0, 1]."""
MAX_TRAINING_PASSES = 2
"""One that halts while we look, where an earlier round let it, is taken up a second time."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """What a tuning is told, beside what a sweep is."""

    n_trials: int = config_field(20, low=1, high=10_000)
    """For each arm."""
    space: str = "optimizer"
    """A file of `conf/space/`."""
    pruner: Literal["none", "median", "hyperband"] = "none"
    tuning_seeds: Union[int, tuple[int, ...]] = 1
    """How many (1000, 1001, ...), or which: a trial's score is the mean over them."""
    parallel_trials: int = config_field(1, low=1, high=1_000)
    """Trials of each arm in a round: more keep more machines busy, fewer learn more."""
    sampler_seed: int = config_field(0, low=0)


class TrialsIncomplete(Exception):
    """Trials that could not be brought to their rung: one line for the user."""


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One tuning of the arms of a plan."""

    config: TuneConfig
    sweep_request: SweepRequest
    resolved_plan: ResolvedPlan
    study: Study
    seeds: tuple[int, ...]

    @cached_property
    def folder(self) -> StudyFolder:
        """Where its rounds are told."""
        study_definition = {**to_builtins(self.study), "seeds": list(self.seeds)}
        name = f"{self.config.space}-{digest(study_definition, 8)}"
        return self.sweep_request.store.get_study(self.resolved_plan.plan.sweep_id, name)

    def describe_cost(self) -> str:
        """How many runs there will be and how long they should take, in words."""
        plan, study = self.resolved_plan.plan, self.study
        num_runs = study.n_trials * len(study.arms) * len(self.seeds)
        summary = (
            f"{study.n_trials} trials x {len(study.arms)} arms x {len(self.seeds)} "
            f"seed{'s' * (len(self.seeds) > 1)} = {num_runs} runs, and {2 * len(plan.cells)} for the "
            "table, default and tuned"
        )
        cost_estimates = price.estimate_costs(self.sweep_request.store, plan)
        if not all(arm in cost_estimates for arm in study.arms):
            return f"{summary}; not measured yet"
        max_parallel_runs = self.sweep_request.settings.max_parallel_runs(
            plan.base_config["train"]["num_threads"]
        )
        seconds_per_trial = (
            sum(cost_estimates[arm].seconds for arm in study.arms) / max_parallel_runs
        )
        qualifier = "about" if study.pruner == "none" else "at most"
        duration = run_time.format_duration(seconds_per_trial * study.n_trials * len(self.seeds))
        return f"{summary}; the trials take {qualifier} {duration} on {max_parallel_runs} slots"

    def enforce_gpu_hours_limit(self) -> bool:
        """Refuse a tuning of which nothing is told yet if all of it would take more than
        `max_gpu_hours`: trials, default arms, tuned ones; whether that could be judged by now."""
        if self.folder.read_round(0) is not None:
            return True
        plan, sweep_request = self.resolved_plan.plan, self.sweep_request
        if not in_follow_up():
            probe.delete_failed_audit(sweep_request.store.get_sweep(plan.sweep_id))
        required_evaluations, job_end_lookup = plan.required_evaluations(), Slurm().find_end_reason
        states = {
            run: inspect_run(sweep_request.store.get_run(run), e, job_end_lookup)
            for run, e in required_evaluations.items()
        }
        open_runs = [
            run for run, state in states.items() if sweep_request.settings.should_run(state)
        ]
        run_counts = Counter([*open_runs, *required_evaluations])
        for run in {c.arm: c.run_id for c in plan.cells}.values():
            run_counts[run] += self.study.n_trials * len(self.seeds)
        return limit.enforce_gpu_hours_limit(
            sweep_request.store, self.resolved_plan, run_counts, sweep_request.settings
        )

    def tune(self, display: Display) -> Tuning:
        """Conduct the study to its end; `Unfinished` if runs failed or are not there yet."""

        def run_trials(
            round_number: int, rung: int, trial_params: TrialParams
        ) -> dict[str, dict[int, TrialResult]]:
            trial_numbers = sorted({t for arm_params in trial_params.values() for t in arm_params})
            rung_text = "" if len(self.study.rungs) == 1 else f", to {self.study.rungs[rung]:.0%}"
            display.print_line(
                f"round {round_number + 1}: trials {trial_numbers[0] + 1} to {trial_numbers[-1] + 1} of "
                f"{self.study.n_trials} for {len(trial_params)} arms{rung_text}"
            )
            return self._run_rung(round_number, rung, trial_params, display)

        rounds = studies.run_study(
            self.study,
            run_trials,
            load_round=self.folder.read_round,
            save_round=self.folder.save_round,
        )
        arms = tuple(self._summarize_arm(arm, rounds) for arm in self.study.arms)
        assert_equal_trials(self.study, arms, self.resolved_plan.configs)
        return Tuning(
            default_sweep=self.resolved_plan.plan.sweep_id,
            space=self.config.space,
            pruner=self.study.pruner,
            n_trials=self.study.n_trials,
            seeds=self.seeds,
            arms=arms,
        )

    def _summarize_arm(self, arm: str, rounds: Sequence[TuningRound]) -> TunedArm:
        trials = studies.list_arm_trials(rounds, arm)
        best = max((t for t in trials if t.completed), key=lambda t: (t.score, -t.number))
        boundary_sides = {k: self.study.space[k].boundary_side(v) for k, v in best.params.items()}
        first_trial: Trial | None = trials[0] if self.study.initial_values is not None else None
        return TunedArm(
            arm=arm,
            best_trial=best,
            default_score=first_trial.score
            if first_trial is not None and first_trial.completed
            else None,
            n_trials=len(trials),
            n_pruned=sum(not t.completed for t in trials),
            n_diverged=sum(t.n_diverged for t in trials),
            steps=sum(t.steps for t in trials),
            at_boundary={k: side for k, side in boundary_sides.items() if side is not None},
        )

    # -- the runs of a round --

    def _run_rung(
        self, round_number: int, rung: int, trial_params: TrialParams, display: Display
    ) -> dict[str, dict[int, TrialResult]]:
        trial_plan = tuned_arms.build_trial_plan(
            self.resolved_plan,
            trial_params,
            sweep=self.folder.get_sweep_id(round_number, rung),
            seeds=self.seeds,
            stop_fraction=self.study.rungs[rung],
        )
        self._train_to_rung(trial_plan, display)
        runs_by_arm: dict[str, list[str]] = {}
        for cell in trial_plan.plan.cells:
            runs_by_arm.setdefault(cell.arm, []).append(cell.run_id)
        halt = trial_plan.plan.base_config["runtime"]["stop_fraction"]
        results: dict[str, dict[int, TrialResult]] = {}
        for arm, arm_params in trial_params.items():
            results[arm] = {}
            for trial_number in arm_params:
                name = tuned_arms.format_trial_name(arm, trial_number)
                config = _set_halt(trial_plan.configs[name], halt)
                seed_results = [self._read_result(run, config) for run in runs_by_arm[name]]
                results[arm][trial_number] = _average_results(
                    [m for m in seed_results if m is not None]
                )
        return results

    def _train_to_rung(self, trial_plan: ResolvedPlan, display: Display) -> None:
        """Have every run of a round's plan brought to its rung."""
        self.reuse_audit(trial_plan.plan)
        for _ in range(MAX_TRAINING_PASSES):
            unfinished_runs = self._list_unfinished_runs(trial_plan)
            if not unfinished_runs:
                return
            controller = SweepController(
                store=self.sweep_request.store,
                resolved_plan=tuned_arms.select_runs(trial_plan, unfinished_runs),
                settings=self.sweep_request.settings,
                display=display,
                follow_up_argv=self.sweep_request.follow_up_argv,
            )
            if not controller.run():
                raise Detached
        unfinished_runs = self._list_unfinished_runs(trial_plan)
        if unfinished_runs:
            state = inspect_run(self.sweep_request.store.get_run(unfinished_runs[0]), {})
            retry_hint = " (with retry=failed it tries them again)" * (state.status == "failed")
            raise TrialsIncomplete(
                f"{len(unfinished_runs)} runs of trials did not get there; {unfinished_runs[0]} is {state.status}: "
                f"{state.reason}; the same command goes on{retry_hint}"
            )

    def reuse_audit(self, plan: Plan) -> None:
        """Let a plan of varied arms stand on the audit and the prices of the arms themselves:
        a switch switches the same under any rate."""
        default_sweep = self.sweep_request.store.get_sweep(self.resolved_plan.plan.sweep_id)
        varied_sweep = self.sweep_request.store.get_sweep(plan.sweep_id)
        audit_key = compute_audit_key(plan)
        if has_audit(varied_sweep, audit_key) or not has_audit(default_sweep, audit_key):
            return
        arm_probes = price.read_probes(self.sweep_request.store, self.resolved_plan.plan)
        for arm in plan.arms:
            arm_probe = arm_probes.get(arm.name.rsplit("#", 1)[0])
            if arm_probe is not None:
                append_jsonl(varied_sweep.probes_path, {**arm_probe, "arm": arm.name})
        write(varied_sweep.audit_path, default_sweep.audit_path.read_bytes())

    def _list_unfinished_runs(self, trial_plan: ResolvedPlan) -> list[str]:
        halt = trial_plan.plan.base_config["runtime"]["stop_fraction"]
        configs = {
            c.run_id: _set_halt(trial_plan.configs[c.arm], halt) for c in trial_plan.plan.cells
        }
        return [run for run, config in configs.items() if self._read_result(run, config) is None]

    def _read_result(self, run_id: str, config: RunConfig) -> TrialResult | None:
        """What a run came to at `config.last_step`; None if it is not there yet.

        What it came to later plays no part, so a study that is replayed decides as it did.
        """
        run, step = self.sweep_request.store.get_run(run_id), config.last_step
        outcome = run.read_outcome()
        if outcome is not None and outcome.kind == "diverged" and outcome.step < step:
            return TrialResult(score=DIVERGED_SCORE, steps=outcome.step, diverged=1)
        if outcome is None and (
            step == config.train.steps or inspect_run(run, {}).status == "running"
        ):
            return None
        for record in run.read_history():
            if record.get("phase") == "validation" and record.get("step") == step:
                return TrialResult(score=record["score"], steps=step)
        if outcome is None:
            return None
        raise UserError(f"{run.path} has no validation at step {step}: move it away and run again")


def build_tuner(overrides: list[str]) -> Tuner:
    """The tuning that these words ask for; `UserError` where it cannot be had."""
    tune_keys = [f.name for f in fields(TuneConfig)]
    tune_overrides = [override for override in overrides if override.partition("=")[0] in tune_keys]
    tune_config: TuneConfig = bind(TuneConfig, compose.parse_overrides(tune_overrides))
    sweep_request = request.parse_request(
        [override for override in overrides if override not in tune_overrides], tune_keys
    )
    sweep_request = replace(sweep_request, argv=("tune", *overrides))
    seeds = resolve_seeds("tuning_seeds", tune_config.tuning_seeds, FIRST_TUNING_SEED)
    space = spaces.load_search_space(tune_config.space, sweep_request.conf_dirs)
    resolved_plan = plans.build_plan(sweep_request.plan_request)
    study = _build_study(
        tune_config,
        spaces.resolve_search_space(tune_config.space, space, resolved_plan),
        resolved_plan,
    )
    return Tuner(
        config=tune_config,
        sweep_request=sweep_request,
        resolved_plan=resolved_plan,
        study=study,
        seeds=seeds,
    )


def _build_study(
    tune_config: TuneConfig, space: spaces.SearchSpace, resolved_plan: ResolvedPlan
) -> Study:
    base = compose.flatten(resolved_plan.plan.base_config)
    initial_values = {key: base[key] for key in space}
    train_configs = [config.train for config in resolved_plan.configs.values()]
    return Study(
        arms=tuple(resolved_plan.configs),
        space=space,
        n_trials=tune_config.n_trials,
        initial_values=initial_values
        if all(space[k].contains(v) for k, v in initial_values.items())
        else None,
        parallel_trials=tune_config.parallel_trials,
        sampler_seed=tune_config.sampler_seed,
        pruner=tune_config.pruner,
        rungs=studies.compute_rungs(
            tune_config.pruner, min(t.steps // t.validate_every for t in train_configs)
        ),
    )


def describe_tuning(tuning: Tuning) -> list[str]:
    """What was found, a line an arm, for a terminal."""
    lines = []
    for arm in tuning.arms:
        values = ", ".join(f"{key}={value}" for key, value in arm.best_trial.params.items())
        default_score = "n/a" if arm.default_score is None else f"{arm.default_score:.3f}"
        boundary_note = (
            f" (on an edge of the space: {', '.join(arm.at_boundary)})" if arm.at_boundary else ""
        )
        lines.append(
            f"{arm.arm}: {values}, trial {arm.best_trial.number + 1} of {arm.n_trials}; "
            f"validation {default_score} -> {arm.best_trial.score:.3f}{boundary_note}"
        )
    return lines


class QuietDisplay(Display):
    """Of arms that were audited before."""

    def print_audit(self, checks: Collection[AuditCheck]) -> None:
        """Nothing: the sweep of the default arms has said it."""


def assert_equal_trials(
    study: Study, arms: Collection[TunedArm], configs: Mapping[str, RunConfig]
) -> None:
    """Assert that every arm had the same trials, and the same steps unless scores cut them short.

    Arms whose runs are longer by declaration are compared among themselves.
    """
    assert {t.n_trials for t in arms} == {study.n_trials}, "every arm has the same trials"
    if study.pruner == "median":
        return
    steps_by_length: dict[int, set[int]] = {}
    for t in arms:
        if not t.n_diverged:
            steps_by_length.setdefault(configs[t.arm].train.steps, set()).add(t.steps)
    assert all(len(steps) == 1 for steps in steps_by_length.values()), (
        "every arm has the same steps"
    )


def _set_halt(config: RunConfig, halt: float | None) -> RunConfig:
    return tuned_arms.override_config(config, {"runtime.stop_fraction": halt})


def _average_results(results: Sequence[TrialResult]) -> TrialResult:
    return TrialResult(
        score=sum(m.score for m in results) / len(results),
        steps=sum(m.steps for m in results),
        diverged=sum(m.diverged for m in results),
    )
