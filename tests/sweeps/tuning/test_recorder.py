"""Studies in storages of Optuna: the same trials as in the store, also after a kill."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.tuning.definition import Study
from sweeps.tuning.search_space import Dimension
from tests.helpers import synthetic_study
from tests.helpers.synthetic_study import SPACE, make_study, run_recorded
from uniclip.errors import UserError
from uniclip.store import Store, TuningRound

SOAK = bool(os.environ.get("UNICLIP_SOAK"))
STORAGES = ("journal", "sqlite", "postgresql")
SAMPLERS = ("tpe", "cmaes", "qmc")
KILLS = (
    [(sampler, storage) for sampler in (*SAMPLERS, "random") for storage in STORAGES] * 3
    if SOAK
    else list(zip(SAMPLERS, STORAGES))
)
SPACE_OF_ALL_KINDS = {
    "train.learning_rate": SPACE["train.learning_rate"],
    "warmup": Dimension(low=0.0, high=0.4, step=0.1),
    "width": Dimension(low=16, high=64, step=16),
    "depth": Dimension(low=1, high=32, log=True),
    "betas": Dimension(choices=([0.9, 0.98], [0.9, 0.999], None)),
    "precision": Dimension(choices=("fp32", "bf16")),
    "eps": Dimension(low=1e-8, high=1e-4, log=True, when={"precision": "bf16"}),
}
NAME = "s/tuning/space-1a2b3c4d/low"
STATE = optuna.trial.TrialState


def make_url(storage: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """Return a storage of a kind; that on PostgreSQL is shared by all tests, so it is emptied."""
    if storage == "journal":
        return str(folder / "study.journal")
    if storage == "sqlite":
        return f"sqlite:///{folder}/study.db"
    url: str = request.getfixturevalue("postgres_url")
    for name in optuna.get_all_study_names(url):
        optuna.delete_study(study_name=name, storage=url)
    return url


def open_storage(url: str) -> Any:
    """Open a storage as a script of the user does."""
    if "://" in url:
        return optuna.storages.RDBStorage(url)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(url))


def read_trials(url: str, arm: str) -> list[dict[str, Any]]:
    """Return everything that a study holds of its trials but times and internal ids."""
    study = optuna.load_study(study_name=NAME.replace("low", arm), storage=open_storage(url))
    return [
        {
            "number": t.number,
            "state": t.state,
            "value": t.value,
            "params": t.params,
            "distributions": t.distributions,
            "intermediate_values": t.intermediate_values,
            "user_attrs": t.user_attrs,
            "system_attrs": t.system_attrs,
        }
        for t in study.get_trials()
    ]


def assert_same_trials(url: str, study: Study, rounds: list[TuningRound]) -> None:
    """Assert that a storage holds the trials of the rounds, no more and no others."""
    for arm in study.arms:
        trials = [t for round_ in rounds for t in round_.trials[arm]]
        stored_trials = read_trials(url, arm)
        assert [t["number"] for t in stored_trials] == [t.number for t in trials]
        for stored, trial in zip(stored_trials, trials):
            assert stored["state"] == (STATE.COMPLETE if trial.completed else STATE.PRUNED)
            assert stored["value"] == trial.score
            reported = {study.get_step(arm, int(r)): s for r, s in trial.rung_scores.items()}
            assert stored["intermediate_values"] == reported
            assert stored["user_attrs"]["steps"] == trial.steps


@pytest.mark.parametrize("storage", STORAGES)
def test_every_storage_holds_the_trials_of_the_rounds(
    storage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = make_url(storage, tmp_path, request)
    study = make_study(
        "median", n_trials=8, parallel_trials=2, space=SPACE_OF_ALL_KINDS,
        rung_steps={"low": (10, 30, 90), "high": (20, 60, 180)},
    )  # fmt: skip
    rounds = run_recorded(study, Store(tmp_path / "store"), url)
    assert_same_trials(url, study, rounds)
    stored = read_trials(url, "low")
    assert {t["state"] for t in stored} == {STATE.COMPLETE, STATE.PRUNED}
    for trial in stored:
        assert ("eps" in trial["params"]) == (trial["params"]["precision"] == "bf16")
        assert trial["params"]["betas"] in ("[0.9, 0.98]", "[0.9, 0.999]", None)
        assert trial["distributions"]["width"].step == 16
        assert trial["distributions"]["depth"].log
    before = [read_trials(url, arm) for arm in study.arms]
    run_recorded(study, Store(tmp_path / "store"), url)
    assert [read_trials(url, arm) for arm in study.arms] == before, "again: nothing is added"


def start(store: Path, url: str, sampler: str) -> subprocess.Popen[bytes]:
    """Start a process that runs the study slowly."""
    words = [str(store), "median", "8", "0.1", sampler, url]
    return subprocess.Popen(
        [sys.executable, synthetic_study.__file__, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "storage"), KILLS)
def test_a_study_that_is_killed_continues_with_the_same_trials(
    sampler: str, storage: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Killed at a random moment, and continued; on a journal by two processes at the same time."""
    study = make_study("median", n_trials=8, sampler=sampler)
    undisturbed_url = make_url("journal", tmp_path, request)
    rounds = run_recorded(study, Store(tmp_path / "undisturbed"), undisturbed_url)
    folder = tmp_path / "killed"
    folder.mkdir()
    url = make_url(storage, folder, request)
    victim = start(folder / "store", url, sampler)
    deadline = time.monotonic() + 300
    while not list(folder.glob("store/sweeps/s/tuning/*/1.json")):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.Random(time.time_ns()).uniform(0, 0.6))
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    num_successors = 2 if SOAK or storage == "journal" else 1
    successors = [start(folder / "store", url, sampler) for _ in range(num_successors)]
    assert [process.wait(timeout=600) for process in successors] == [0] * num_successors
    assert_same_trials(url, study, rounds)
    for arm in study.arms:
        assert read_trials(url, arm) == read_trials(undisturbed_url, arm)


@pytest.mark.parametrize(
    ("write", "num_writes"),
    [*(("set_user_attr", i) for i in range(4)), *(("set_metric_names", i) for i in range(2))],
)
def test_a_study_whose_creation_was_interrupted_continues(
    write: str, num_writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends before one of the writes about the two arms."""
    store, study = Store(tmp_path), make_study(n_trials=3)
    original, calls = getattr(optuna.study.Study, write), itertools.count()

    def interrupt(self: optuna.study.Study, *args: Any) -> None:
        if next(calls) == num_writes:
            raise KeyboardInterrupt
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.study.Study, write, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_recorded(study, store)
    rounds = run_recorded(study, store)
    (journal,) = tmp_path.glob("sweeps/s/tuning/*/optuna.journal")
    assert_same_trials(str(journal), study, rounds)


def test_a_journal_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    store, study = Store(tmp_path), make_study(n_trials=3)
    rounds = run_recorded(study, store)
    (journal,) = tmp_path.glob("sweeps/s/tuning/*/optuna.journal")
    journal.unlink()
    assert run_recorded(study, store) == rounds
    assert_same_trials(str(journal), study, rounds)


def assert_refused(url: str, study: Study, store: Store, reason: str) -> None:
    with pytest.raises(UserError, match=f"holds another study of the name {NAME}: ") as error:
        run_recorded(study, store, url)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_another_study_of_the_same_name_is_refused(tmp_path: Path) -> None:
    url, study = f"sqlite:///{tmp_path}/study.db", make_study(n_trials=3)
    users_study = optuna.create_study(study_name=NAME, storage=url)
    users_study.add_trial(optuna.trial.create_trial(value=1.0))
    assert_refused(url, study, Store(tmp_path / "store"), "not written by this tuning")
    assert len(optuna.load_study(study_name=NAME, storage=url).trials) == 1
    optuna.delete_study(study_name=NAME, storage=url)
    run_recorded(study, Store(tmp_path / "store"), url)
    longer = make_study(n_trials=4)
    assert_refused(url, longer, Store(tmp_path / "other"), "not written by this tuning")


def test_trials_of_another_store_are_refused(tmp_path: Path) -> None:
    """With no round in the store, and with a round whose scores are others."""
    url, study = str(tmp_path / "study.journal"), make_study(n_trials=3)
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    run_recorded(study, first, url)
    assert_refused(url, study, second, "trial 0 is not in this store")
    run_recorded(study, second)
    (record,) = second.root.glob("sweeps/s/tuning/*/1.json")
    text = record.read_text()
    score = text.split('"0": ')[1].split("\n")[0]
    record.write_text(text.replace(f'"0": {score}', '"0": 0.125'))
    assert_refused(url, study, second, "trial 1 has another score")
