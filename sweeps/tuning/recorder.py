"""The studies that users of Optuna open: one per arm, in a storage, written from the rounds.

The rounds in the store decide what is trained; a study in a storage holds the same trials for
optuna-dashboard and for scripts of the user, and nothing is read back from it. Each operation is
repeated without effect: a process that is killed is continued by the next, and a storage that is
lost is written anew. Processes that share the store take turns by a lock on a file in it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

from ablations.plan.tuned_arms import format_trial_name
from sweeps.tuning import distributions
from sweeps.tuning.definition import ParamValues, Study, TrialParams, TrialResult
from sweeps.tuning.sampler import import_optuna
from sweeps.tuning.storage import hide_password, open_storage, translate_errors
from sweeps.tuning.study import TrialRunner, run_study
from uniclip.errors import UserError
from uniclip.io.hashing import digest
from uniclip.store import Store, StudyFolder, Trial, TuningRound

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

DEFINITION = "definition"
"""Attribute of a study: digest of what determines its trials."""
RUNS = "runs"
"""Attribute of a trial: ids of its runs in the store, one per seed."""


class StudyRecorder:
    """Writes the trials of a tuning to a storage."""

    def __init__(
        self, study: Study, store: Store, folder: StudyFolder, seeds: tuple[int, ...], url: str
    ) -> None:
        """Open the storage, and load or create a study for each arm.

        Args:
            study: What determines the trials.
            store: The store of the runs.
            folder: The folder of the study.
            seeds: Seeds of each trial.
            url: The storage as in `open_storage`.

        Raises:
            UserError: the storage cannot be used, or holds another study of that name.
        """
        self._study, self._store, self._folder = study, store, folder
        self._definition = digest({**study.identity, "seeds": list(seeds)})
        self._url = url or str(folder.journal_path)
        folder.path.mkdir(parents=True, exist_ok=True)
        with self._lock():
            storage = open_storage(url, folder.journal_path)
            self._studies = {arm: self._load_study(arm, storage) for arm in study.arms}

    def start_trials(self, round_number: int, trial_params: TrialParams) -> None:
        """Add the trials of a round, which is about to be trained, in the state RUNNING.

        Raises:
            UserError: the storage holds other trials of these numbers.
        """
        with self._lock():
            for arm, arm_params in trial_params.items():
                for number, params in arm_params.items():
                    trial = self._start_trial(arm, number, params)
                    # a process that shares the store finishes trials after it has saved the round
                    if trial.state.is_finished() and not self._folder.read_round(round_number):
                        self._raise_other_study(arm, f"trial {number} is not in this store")

    def report(self, rung: int, results: Mapping[str, Mapping[int, TrialResult]]) -> None:
        """Report the scores of trials at a rung."""
        with self._lock():
            for arm, arm_results in results.items():
                for number, result in arm_results.items():
                    self._report(arm, number, {rung: result.score})

    def record_round(self, round_: TuningRound) -> None:
        """Finish the trials of a round that is saved.

        Raises:
            UserError: the storage holds other trials of these numbers.
        """
        with self._lock():
            for arm, trials in round_.trials.items():
                for trial in trials:
                    self._record_trial(arm, trial, round_.number)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Wait for other processes; errors of the storage are raised as `UserError`."""
        with translate_errors(self._url), open(self._folder.lock_path, "ab") as lock_file:
            with suppress(OSError):  # a file system without locks: processes do not wait
                fcntl.flock(lock_file, fcntl.LOCK_EX)
            yield

    def _load_study(self, arm: str, storage: BaseStorage) -> OptunaStudy:
        optuna = import_optuna()
        study: OptunaStudy = optuna.create_study(
            storage=storage,
            study_name=f"{self._folder.id}/{arm}",
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            load_if_exists=True,
        )
        if not study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(DEFINITION, self._definition)
        if study.user_attrs.get(DEFINITION) != self._definition:
            self._raise_other_study(arm, "it was not written by this tuning", study.study_name)
        if "arm" not in study.user_attrs:  # the study is new, or a process was killed right here
            study.set_metric_names(["validation score"])
            study.set_user_attr("arm", arm)
        return study

    def _start_trial(self, arm: str, number: int, params: ParamValues) -> FrozenTrial:
        """Return a trial of the storage, which is added if it is not there."""
        optuna, study, space = import_optuna(), self._studies[arm], self._study.space
        readable_params = distributions.encode_params(space, params, readable=True)
        trials = study.get_trials(deepcopy=False)
        if number == len(trials):
            study.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=readable_params,
                    distributions=distributions.build_distributions(space, params, readable=True),
                )
            )
            trials = study.get_trials(deepcopy=False)
        if number >= len(trials) or trials[number].params != readable_params:
            self._raise_other_study(arm, f"trial {number} has other values")
        return trials[number]

    def _report(self, arm: str, number: int, scores: Mapping[int, float]) -> None:
        optuna, study = import_optuna(), self._studies[arm]
        stored_trial = study.get_trials(deepcopy=False)[number]
        if stored_trial.state.is_finished():
            return
        trial = optuna.trial.Trial(study, stored_trial._trial_id)
        for rung, score in scores.items():
            step = self._study.get_step(arm, rung)
            if step not in stored_trial.intermediate_values:
                trial.report(score, step)

    def _record_trial(self, arm: str, trial: Trial, round_number: int) -> None:
        optuna, study = import_optuna(), self._studies[arm]
        stored_trial = self._start_trial(arm, trial.number, trial.params)
        if not stored_trial.state.is_finished():
            self._report(arm, trial.number, {int(r): s for r, s in trial.rung_scores.items()})
            handle = optuna.trial.Trial(study, stored_trial._trial_id)
            handle.set_user_attr(RUNS, self._list_runs(arm, trial.number, round_number))
            handle.set_user_attr("steps", trial.steps)
            handle.set_user_attr("num_diverged", trial.n_diverged)
            if trial.completed:
                study.tell(trial.number, trial.score)
            else:
                study.tell(trial.number, state=optuna.trial.TrialState.PRUNED)
            stored_trial = study.get_trials(deepcopy=False)[trial.number]
        trial_state = optuna.trial.TrialState
        state = trial_state.COMPLETE if trial.completed else trial_state.PRUNED
        if (stored_trial.state, stored_trial.value) != (state, trial.score):
            self._raise_other_study(arm, f"trial {trial.number} has another score")

    def _list_runs(self, arm: str, number: int, round_number: int) -> list[str]:
        first_rung = self._study.get_bracket(round_number)[1]
        sweep_id = self._folder.get_sweep_id(round_number, first_rung)
        plan = self._store.get_sweep(sweep_id).read_plan()
        name = format_trial_name(arm, number)
        return [cell.run_id for cell in plan.cells if cell.arm == name] if plan else []

    def _raise_other_study(self, arm: str, reason: str, name: str = "") -> NoReturn:
        name = name or self._studies[arm].study_name
        raise UserError(
            f"storage={hide_password(self._url)} holds another study of the name {name}: {reason}; "
            "choose another storage, or delete that study (optuna delete-study)"
        )


def run_recorded_study(
    study: Study, run_trials: TrialRunner, folder: StudyFolder, recorder: StudyRecorder
) -> list[TuningRound]:
    """Run a study to its end and return its rounds; each is saved, and then recorded.

    Args:
        study: What determines the trials.
        run_trials: As in `run_study`.
        folder: The folder of the rounds.
        recorder: The writer of the studies that Optuna's programs open.
    """

    def load_round(number: int) -> TuningRound | None:
        round_ = folder.read_round(number)
        if round_ is not None:
            recorder.record_round(round_)
        return round_

    def save_round(round_: TuningRound) -> TuningRound:
        saved_round = folder.save_round(round_)
        recorder.record_round(saved_round)
        return saved_round

    return run_study(study, run_trials, load_round=load_round, save_round=save_round)
