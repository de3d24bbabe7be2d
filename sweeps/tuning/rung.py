"""The runs of a rung: trials are trained to it, and their results are read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.plan.plan import ResolvedPlan
from ablations.plan.tuned_arms import (
    build_trial_plan,
    format_trial_name,
    override_config,
    select_runs,
)
from sweeps.claims.status import inspect_run
from sweeps.config.request import SweepRequest
from sweeps.controller.controller import Detached, SweepController
from sweeps.costs.audit_scope import compute_audit_key, has_audit
from sweeps.costs.estimate import read_probes
from sweeps.monitor.display import Display
from sweeps.tuning.definition import TrialParams, TrialResult
from uniclip.config import RunConfig
from uniclip.errors import UserError
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import Plan, RunFolder, RunStatus, Store

DIVERGED_SCORE = 0.0
"""Score of a run that diverged; validation scores lie in [0, 1]."""
MAX_TRAINING_PASSES = 2
"""Passes over the runs of a rung: a run that another process pauses at an earlier rung, while the
first pass waits for it, is continued in a second one."""


class TrialsIncomplete(Exception):
    """Trials did not reach their rung; the message is one line for the user."""


@dataclass(frozen=True)
class RungTarget:
    """How far a run is trained for a rung, in steps."""

    step: int
    total_steps: int
    """Steps of the whole training."""


@dataclass(frozen=True, kw_only=True)
class RungTrainer:
    """Trains trials of the arms of a plan to their rungs."""

    request: SweepRequest
    resolved_plan: ResolvedPlan
    """The plan of the arms with default values."""
    seeds: tuple[int, ...]
    """Seeds of each trial."""
    display: Display

    def train(
        self, trial_params: TrialParams, *, sweep_id: str, stop_fraction: float
    ) -> dict[str, dict[int, TrialResult]]:
        """Train trials to a rung, and return the mean result of each over its seeds.

        Args:
            trial_params: The trials of each arm.
            sweep_id: Id of the sweep that these trials form.
            stop_fraction: Fraction of the training steps that the rung stands for.

        Raises:
            TrialsIncomplete: runs failed.
            Detached: runs are left to the jobs that were submitted.
        """
        trial_plan = build_trial_plan(
            self.resolved_plan,
            trial_params,
            sweep=sweep_id,
            seeds=self.seeds,
            stop_fraction=stop_fraction,
        )
        targets = _compute_targets(trial_plan)
        reuse_audit(self.request.store, self.resolved_plan.plan, trial_plan.plan)
        self._train_runs(trial_plan, targets)
        runs_by_trial: dict[str, list[str]] = {}
        for cell in trial_plan.plan.cells:
            runs_by_trial.setdefault(cell.arm, []).append(cell.run_id)
        results: dict[str, dict[int, TrialResult]] = {}
        for arm, trials in trial_params.items():
            results[arm] = {}
            for number in trials:
                runs = runs_by_trial[format_trial_name(arm, number)]
                seed_results = [self._read_result(run, targets[run]) for run in runs]
                results[arm][number] = _average([r for r in seed_results if r is not None])
        return results

    def _train_runs(self, trial_plan: ResolvedPlan, targets: Mapping[str, RungTarget]) -> None:
        for _ in range(MAX_TRAINING_PASSES):
            unfinished_runs = self._find_unfinished_runs(targets)
            if not unfinished_runs:
                return
            controller = SweepController(
                store=self.request.store,
                resolved_plan=select_runs(trial_plan, unfinished_runs),
                settings=self.request.settings,
                display=self.display,
                follow_up_argv=self.request.follow_up_argv,
            )
            if not controller.run():
                raise Detached
        unfinished_runs = self._find_unfinished_runs(targets)
        if unfinished_runs:
            run_id = unfinished_runs[0]
            state = inspect_run(self.request.store.get_run(run_id), {})
            is_failed = state.status == RunStatus.FAILED
            retry_hint = " (with retry=failed it runs them again)" if is_failed else ""
            raise TrialsIncomplete(
                f"{len(unfinished_runs)} runs of trials are not finished; {run_id} is "
                f"{state.status}: {state.reason}; the same command continues{retry_hint}"
            )

    def _find_unfinished_runs(self, targets: Mapping[str, RungTarget]) -> list[str]:
        return [run for run, target in targets.items() if self._read_result(run, target) is None]

    def _read_result(self, run_id: str, target: RungTarget) -> TrialResult | None:
        return read_result(self.request.store.get_run(run_id), target)


def read_result(run: RunFolder, target: RungTarget) -> TrialResult | None:
    """Return the result of a run at its target; None if it has not reached it.

    Later results of the run are ignored, so that a study that is repeated decides alike.

    Raises:
        UserError: the run has finished and has no validation at the target.
    """
    step, outcome = target.step, run.read_outcome()
    if outcome is not None and outcome.kind == "diverged" and outcome.step < step:
        return TrialResult(score=DIVERGED_SCORE, steps=outcome.step, n_diverged=1)
    if outcome is None:
        is_last_rung = step == target.total_steps
        if is_last_rung or inspect_run(run, {}).status == RunStatus.RUNNING:
            return None
    for record in run.read_history():
        if record.get("phase") == "validation" and record.get("step") == step:
            return TrialResult(score=record["score"], steps=step)
    if outcome is None:
        return None
    raise UserError(f"{run.path} has no validation at step {step}: move it away and run again")


def reuse_audit(store: Store, default_plan: Plan, plan: Plan) -> None:
    """Copy audit and probes of the default arms to a plan of the same arms with other values.

    A component is switched off in the same way whatever the values of hyper-parameters are.
    """
    source, target = store.get_sweep(default_plan.sweep_id), store.get_sweep(plan.sweep_id)
    audit_key = compute_audit_key(plan)
    if has_audit(target, audit_key) or not has_audit(source, audit_key):
        return
    probes = read_probes(source, default_plan.device)
    for arm in plan.arms:
        probe = probes.get(arm.name.rsplit("#", 1)[0])
        if probe is not None:
            append_jsonl(target.probes_path, {**probe, "arm": arm.name})
    atomic_write(target.audit_path, source.audit_path.read_bytes())


def find_last_step(config: RunConfig, stop_fraction: float | None) -> int:
    """Return the step at which a run pauses or ends: that of a validation.

    Args:
        config: The configuration of the run.
        stop_fraction: Fraction of the training steps after which it pauses; None = it does not.
    """
    return override_config(config, {"runtime.stop_fraction": stop_fraction}).last_step


def _compute_targets(trial_plan: ResolvedPlan) -> dict[str, RungTarget]:
    """Return how far each run of a plan of trials is trained, by run id."""
    stop_fraction = trial_plan.plan.base_config["runtime"]["stop_fraction"]
    targets_by_trial = {
        trial: RungTarget(
            step=find_last_step(config, stop_fraction), total_steps=config.train.steps
        )
        for trial, config in trial_plan.configs.items()
    }
    return {cell.run_id: targets_by_trial[cell.arm] for cell in trial_plan.plan.cells}


def _average(results: Sequence[TrialResult]) -> TrialResult:
    """Return the mean score of the seeds of a trial, and their steps together."""
    return TrialResult(
        score=sum(r.score for r in results) / len(results),
        steps=sum(r.steps for r in results),
        n_diverged=sum(r.n_diverged for r in results),
    )
