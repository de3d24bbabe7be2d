"""Tuning: hyper-parameters are chosen for every arm with the same trials in the same space.

Trials are ordinary runs. They use seeds of the tuning, are scored on the validation split, and are
evaluated on no benchmark, so that no test score influences the choice. The results of a round are
written once to the study's folder (`uniclip.store.StudyFolder`), everything else is in the runs: a
tuning that is killed continues with the same study, and two processes that run it at the same time
share it.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Union

from ablations.plan.plan import ResolvedPlan
from analysis.collect.run_time import format_duration
from sweeps.claims.status import inspect_runs
from sweeps.config.library_names import check_optuna_class
from sweeps.config.request import SweepRequest, parse_request
from sweeps.config.schema import SlurmLauncherConfig, resolve_seeds
from sweeps.costs import limit
from sweeps.costs.estimate import estimate_costs
from sweeps.costs.probe import delete_failed_audit
from sweeps.monitor.display import Display
from sweeps.slurm import Slurm, in_follow_up
from sweeps.tuning import pruner, sampler
from sweeps.tuning.definition import (
    EQUAL_STEP_PRUNERS,
    OPTUNA_PRUNERS,
    Pruner,
    SamplerName,
    Study,
    TrialParams,
    TrialResult,
    compute_rungs,
)
from sweeps.tuning.recorder import StudyRecorder, run_recorded_study
from sweeps.tuning.rung import RungTrainer, find_last_step
from sweeps.tuning.search_space import (
    SearchSpace,
    load_search_space,
    resolve_search_space,
    select_default_values,
)
from sweeps.tuning.storage import find_storage, hide_password
from sweeps.tuning.study import list_arm_trials
from uniclip.config import compose, keys
from uniclip.config.binding import bind, config_field, to_builtins
from uniclip.config.overrides import parse_overrides
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import (
    AuditCheck,
    Plan,
    StudyFolder,
    Trial,
    TunedArm,
    Tuning,
    TuningRound,
)

FIRST_TUNING_SEED = 1_000
"""Tuning seeds are counted from here, so that no seed of a table influences the choice."""


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of a tuning, in addition to those of its sweep."""

    n_trials: int = config_field(20, low=1, high=10_000)
    """Trials of each arm."""
    space: str = "optimizer"
    """Search space: a file in `sweeps/conf/space/`, or in the folder `space` of your conf_dir."""
    sampler: SamplerName = "tpe"
    """Optuna's sampler: TPE, Gaussian process, CMA-ES, quasi-Monte Carlo (Sobol) or random."""
    sampler_options: dict[str, Any] = config_field(dict)
    """Arguments of Optuna's sampler, such as {n_startup_trials: 10}."""
    pruner: Pruner = "none"
    """Rule by which poor trials are stopped early; none = all are trained fully. median and
    hyperband compare the trials of a round; names of classes are Optuna's own pruners."""
    pruner_options: dict[str, Any] = config_field(dict)
    """Arguments of a pruner of Optuna's own, such as {n_startup_trials: 3}."""
    storage: str = ""
    """Storage of the Optuna studies: a URL such as sqlite:///study.db, or the path of a journal.
    Empty = the environment variable UNICLIP_STORAGE, which `ps` does not show, or the file
    optuna.journal in the folder of the study."""
    tuning_seeds: Union[int, tuple[int, ...]] = 1
    """Number of seeds (2 = 1000 and 1001), or a list of them; a trial's score is their mean."""
    parallel_trials: int = config_field(1, low=1, high=1_000)
    """Trials of each arm that run at the same time, before the sampler sees their scores."""
    sampler_seed: int = config_field(0, low=0)
    """Seed of Optuna's sampler."""


@dataclass(frozen=True, kw_only=True)
class Tuner:
    """One tuning of the arms of a plan."""

    config: TuneConfig
    request: SweepRequest
    resolved_plan: ResolvedPlan
    """The plan of the arms with default values."""
    study: Study
    seeds: tuple[int, ...]

    @cached_property
    def folder(self) -> StudyFolder:
        """The folder of the study, named after everything that determines its trials."""
        study_definition = {**self.study.identity, "seeds": list(self.seeds)}
        name = f"{self.config.space}-{digest(study_definition, 8)}"
        return self.request.store.get_study(self.resolved_plan.plan.sweep_id, name)

    def describe_cost(self) -> str:
        """Return the number of runs and their estimated duration, as a sentence."""
        plan, study = self.resolved_plan.plan, self.study
        num_runs = study.n_trials * len(study.arms) * len(self.seeds)
        summary = (
            f"{study.n_trials} trials x {len(study.arms)} arms x {len(self.seeds)} "
            f"seed{'s' * (len(self.seeds) > 1)} = {num_runs} runs, and {2 * len(plan.cells)} for "
            "the table, default and tuned"
        )
        world_size = self.request.settings.launcher.world_size
        cost_estimates = estimate_costs(self.request.store, plan, world_size=world_size)
        if not all(arm in cost_estimates for arm in study.arms):
            return f"{summary}; not measured yet"
        num_workers = self.request.settings.max_parallel_runs(plan.num_threads)
        trial_seconds = sum(cost_estimates[arm].seconds for arm in study.arms) / num_workers
        duration = format_duration(trial_seconds * study.n_trials * len(self.seeds))
        qualifier = "about" if study.pruner == "none" else "at most"
        return f"{summary}; the trials take {qualifier} {duration} on {num_workers} workers"

    def enforce_gpu_hours_limit(self) -> bool:
        """Raise if trials, default arms and tuned arms together would exceed `max_gpu_hours`.

        A tuning that has finished a round is not checked again.

        Returns:
            Whether the limit was checked; False if the arms are not measured yet.
        """
        if self.folder.read_round(0) is not None:
            return True
        plan, settings, store = self.resolved_plan.plan, self.request.settings, self.request.store
        if not in_follow_up():
            delete_failed_audit(store.get_sweep(plan.sweep_id), plan)
        states = inspect_runs(store, plan.required_evaluations(), Slurm().find_end_reason)
        default_runs = [run for run, state in states.items() if settings.should_run(state)]
        tuned_runs = list(states)  # each costs as much as the default run of its arm and seed
        run_counts = Counter([*default_runs, *tuned_runs])
        for run in {cell.arm: cell.run_id for cell in plan.cells}.values():
            run_counts[run] += self.study.n_trials * len(self.seeds)
        return limit.enforce_gpu_hours_limit(
            store,
            self.resolved_plan,
            run_counts,
            max_gpu_hours=settings.max_gpu_hours,
            launcher=settings.launcher,
        )

    @cached_property
    def recorder(self) -> StudyRecorder:
        """The writer of the studies that Optuna's programs open."""
        return StudyRecorder(
            self.study, self.request.store, self.folder, self.seeds, self.config.storage
        )

    def check_storage(self) -> None:
        """Raise `UserError` if the storage that the user named cannot be used."""
        if self.config.storage:
            _ = self.recorder

    def describe_dashboard(self) -> str:
        """Return the command that shows the trials."""
        storage = hide_password(self.config.storage) or str(self.folder.journal_path)
        return shlex.join(["optuna-dashboard", storage])

    def tune(self, display: Display, on_round: Callable[[str], object]) -> Tuning:
        """Run the study to its end.

        Args:
            display: where progress is printed.
            on_round: called with the id of the sweep that trains trials, before it is run.

        Raises:
            TrialsIncomplete: runs failed.
            Detached: runs are left to the jobs that were submitted.
            UserError: the storage cannot be used, or an arm has no trial that was completed.
        """
        recorder = self.recorder
        trainer = RungTrainer(
            request=self.request,
            resolved_plan=self.resolved_plan,
            seeds=self.seeds,
            display=display,
        )

        def run_trials(
            round_number: int, rung: int, trial_params: TrialParams
        ) -> dict[str, dict[int, TrialResult]]:
            numbers = sorted({number for trials in trial_params.values() for number in trials})
            rung_text = "" if len(self.study.rungs) == 1 else f", to {self.study.rungs[rung]:.0%}"
            display.print_line(
                f"round {round_number + 1}: trials {numbers[0] + 1} to {numbers[-1] + 1} of "
                f"{self.study.n_trials} for {len(trial_params)} arms{rung_text}"
            )
            recorder.start_trials(round_number, trial_params)
            sweep_id = self.folder.get_sweep_id(round_number, rung)
            on_round(sweep_id)
            results = trainer.train(
                trial_params,
                sweep_id=sweep_id,
                stop_fraction=self.study.rungs[rung],
            )
            recorder.report(rung, results)
            return results

        rounds = run_recorded_study(self.study, run_trials, self.folder, recorder)
        arms = tuple(self._summarize_arm(arm, rounds) for arm in self.study.arms)
        assert_equal_trials(
            self.study,
            arms,
            {arm: config.train.steps for arm, config in self.resolved_plan.configs.items()},
        )
        return Tuning(
            default_sweep=self.resolved_plan.plan.sweep_id,
            space=self.config.space,
            pruner=self.study.pruner,
            n_trials=self.study.n_trials,
            seeds=self.seeds,
            arms=arms,
            study=self.folder.path.name,
            sampler=self.study.sampler,
            dimensions=to_builtins(self.study.space),
        )

    def _summarize_arm(self, arm: str, rounds: Sequence[TuningRound]) -> TunedArm:
        trials = list_arm_trials(rounds, arm)
        if not any(t.completed for t in trials):
            raise UserError(
                f"arm {arm}: pruner={self.study.pruner} stopped all {len(trials)} trials; choose "
                "another pruner or other pruner_options"
            )
        best_trial = max((t for t in trials if t.completed), key=lambda t: (t.score, -t.number))
        boundary_sides = {
            key: self.study.space[key].boundary_side(value)
            for key, value in best_trial.params.items()
        }
        default_trial: Trial | None = trials[0] if self.study.initial_values is not None else None
        has_default_score = default_trial is not None and default_trial.completed
        return TunedArm(
            arm=arm,
            best_trial=best_trial,
            default_score=default_trial.score if default_trial and has_default_score else None,
            n_trials=len(trials),
            n_pruned=sum(not t.completed for t in trials),
            n_diverged=sum(t.n_diverged for t in trials),
            steps=sum(t.steps for t in trials),
            at_boundary={key: side for key, side in boundary_sides.items() if side is not None},
        )


def build_tuner(overrides: list[str], stored_plan: Plan | None = None) -> Tuner:
    """Return the tuning that the `key=value` words of a command line describe.

    Args:
        overrides: The words.
        stored_plan: The plan of the default arms, if the sweep was named by its id.

    Raises:
        UserError: a key or value does not exist, or an arm cannot be tuned in the space.
    """
    tune_keys = [field.name for field in fields(TuneConfig)]
    tune_overrides = [word for word in overrides if word.partition("=")[0] in tune_keys]
    forms = keys.collect_value_forms([(TuneConfig, "")])
    tune_values = parse_overrides(tune_overrides, forms)
    for key in ("sampler", "pruner"):
        check_optuna_class(key, tune_values.get(key))
    config: TuneConfig = bind(TuneConfig, tune_values)
    sweep_overrides = [w for w in overrides if w not in tune_overrides]
    request = parse_request(sweep_overrides, tune_keys, stored_plan)
    if request.settings.is_adaptive:
        raise UserError("tune does not go with seeds=adaptive: give a number, such as seeds=5")
    seeds = resolve_seeds("tuning_seeds", config.tuning_seeds, FIRST_TUNING_SEED)
    space = load_search_space(config.space, request.conf_dirs)
    resolved_plan = request.build_plan()
    if resolved_plan.plan.is_scored_by_program:
        raise UserError("tune cannot set the values of a command: write them as arms")
    space = resolve_search_space(config.space, space, resolved_plan)
    is_slurm = isinstance(request.settings.launcher, SlurmLauncherConfig)
    storage = find_storage(config.storage, is_passed_on=is_slurm)
    return Tuner(
        config=replace(config, storage=storage),
        request=replace(request, argv=("tune", *request.argv[1:], *tune_overrides)),
        resolved_plan=resolved_plan,
        study=_build_study(config, space, resolved_plan),
        seeds=seeds,
    )


def describe_tuning(tuning: Tuning) -> list[str]:
    """Return the selected values and scores, one line per arm."""
    lines = []
    for arm in tuning.arms:
        values = ", ".join(f"{key}={value}" for key, value in arm.best_trial.params.items())
        default_score = "n/a" if arm.default_score is None else f"{arm.default_score:.3f}"
        boundary_note = ""
        if arm.at_boundary:
            boundary_note = f" (at the boundary of the search space: {', '.join(arm.at_boundary)})"
        lines.append(
            f"{arm.arm}: {values}, trial {arm.best_trial.number + 1} of {arm.n_trials}; "
            f"validation {default_score} -> {arm.best_trial.score:.3f}{boundary_note}"
        )
    return lines


class QuietDisplay(Display):
    """A display for arms whose audit has been printed with the default arms."""

    def print_audit(self, checks: Collection[AuditCheck]) -> None:
        """Print nothing."""


def assert_equal_trials(
    study: Study, arms: Collection[TunedArm], steps_by_arm: Mapping[str, int]
) -> None:
    """Assert that all arms had the same trials and, unless scores stop trials, the same steps.

    Arms whose runs have more steps by declaration are compared among themselves. Arms with
    diverged runs are left out of the comparison of steps.
    """
    assert {arm.n_trials for arm in arms} == {study.n_trials}, "every arm has the same trials"
    if study.pruner not in EQUAL_STEP_PRUNERS:
        return
    steps_by_length: dict[int, set[int]] = {}
    for arm in arms:
        if not arm.n_diverged:
            steps_by_length.setdefault(steps_by_arm[arm.arm], set()).add(arm.steps)
    assert all(len(steps) == 1 for steps in steps_by_length.values()), (
        "every arm has the same steps"
    )


def _build_study(config: TuneConfig, space: SearchSpace, resolved_plan: ResolvedPlan) -> Study:
    base_values = compose.flatten(resolved_plan.plan.base_config)
    train_configs = [run_config.train for run_config in resolved_plan.configs.values()]
    num_validations = min(train.steps // train.validate_every for train in train_configs)
    rungs = compute_rungs(config.pruner, num_validations)
    sampler.require_packages(config.sampler)
    study = Study(
        arms=tuple(resolved_plan.configs),
        space=space,
        n_trials=config.n_trials,
        initial_values=select_default_values(space, base_values),
        parallel_trials=config.parallel_trials,
        sampler_seed=config.sampler_seed,
        pruner=config.pruner,
        rungs=rungs,
        sampler=config.sampler,
        sampler_options=config.sampler_options,
        pruner_options=config.pruner_options,
        rung_steps={
            arm: tuple(find_last_step(run_config, f if f < 1 else None) for f in rungs)
            for arm, run_config in resolved_plan.configs.items()
        },
    )
    _check_options(study)
    return study


def _check_options(study: Study) -> None:
    """Raise `UserError` unless sampler and pruner accept their arguments."""
    if study.sampler_options:
        sampler.check_options(study)
    if study.pruner in OPTUNA_PRUNERS:
        pruner.check_options(study)
    elif study.pruner_options:
        raise UserError(
            f"pruner_options: pruner={study.pruner} has none; it takes those of "
            f"{', '.join(OPTUNA_PRUNERS)}"
        )
