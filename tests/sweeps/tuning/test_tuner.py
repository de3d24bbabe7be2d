"""Tuning by the command line: real runs, killed and continued, pruned and reported."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import random
import re
import shlex
import shutil
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.claims import process
from sweeps.controller import sweep_notifier
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.webhook import URL_VARIABLE
from sweeps.tuning.definition import Study
from sweeps.tuning.storage import open_storage
from sweeps.tuning.tuner import assert_equal_trials, build_tuner, describe_tuning
from tests.helpers import ROOT
from tests.helpers.command_line import (
    TINY,
    Driver,
    assert_finished_once,
    execute,
    kill,
    wait_until,
)
from tests.helpers.optuna_dashboard import read_json, start_dashboard
from tests.helpers.webhook_server import SECRET, WebhookServer, serve_webhook
from uniclip.errors import UserError
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import AuditRecord, Plan, RunFolder, Store, Trial, TunedArm, Tuning, TuningRound
from uniclip.store.json_io import to_json_bytes

WORDS = (
    "ablation=components",
    "arms=[full,clip]",
    "seeds=1",
    "launcher.max_workers=1",
    "train.steps=9",
    "train.validate_every=3",
)
TRIALS = 2
SAMPLER = "sampler=gp"
PAGE = ROOT / "docs" / "optuna.md"
PAGE_STORAGE = "sqlite:///tuning.db"
"""Storage in the commands of the page."""
SOAK = bool(os.environ.get("UNICLIP_SOAK"))
VICTIMS = ["controller", "all"] * 5 if SOAK else ["controller"]
"""Processes that are killed."""
SEED = 1000


class TuningDriver(Driver):
    """A store with a tuning; runs have three validations."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        replaced_keys = {word.partition("=")[0] for word in (*WORDS, "runtime.checkpoint_seconds")}
        tiny_words = [word for word in TINY if word.partition("=")[0] not in replaced_keys]
        self.words = (*tiny_words, *WORDS, f"store={folder}")

    def tune(self, *words: str) -> str:
        """Return what a tuning prints, executed in a process of its own."""
        return self.run(f"n_trials={TRIALS}", SAMPLER, *words, command="tune")

    def tune_here(self, *words: str, command: str = "tune", status: int = 0) -> str:
        """Return what a command prints; it is executed in this process, which is faster."""
        words = (f"n_trials={TRIALS}", SAMPLER, *words) if command == "tune" else words
        trials = [w for w in words if w.startswith("n_trials=")][-1:]
        words = (*trials, *(w for w in words if not w.startswith("n_trials=")))
        output = io.StringIO()
        with chdir(self.folder.parent), redirect_stdout(output), redirect_stderr(output):
            assert execute(command, *self.words, *words) == status, output.getvalue()
        return output.getvalue()

    def rounds(self) -> list[TuningRound]:
        """Return the rounds of the only study in the store."""
        (folder,) = (self.folder / "sweeps").glob("*/tuning/*")
        name = folder.relative_to(self.folder / "sweeps")
        study = self.store.get_study(name.parts[0], name.name)
        return [r for n in range(99) if (r := study.read_round(n)) is not None]

    def tuned(self) -> Plan:
        """Return the plan of the tuned arms."""
        (plan,) = (p for s in self.store.iter_sweeps() if (p := s.read_plan()) and p.tuning)
        return plan

    def table(self, name: str) -> list[dict[str, str]]:
        """Return a table of the tuned arms' report."""
        folder = self.store.report_path(self.tuned().sweep_id) / "tables"
        return list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text())))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[TuningDriver, str]:
    """The store after the command of the page for users of Optuna, and what it printed."""
    driver = TuningDriver(tmp_path_factory.mktemp("tuned") / "store")
    commands = [line for line in PAGE.read_text().splitlines() if line.startswith("$ python")]
    (command,) = (shlex.split(line.removeprefix("$ python sweep.py ")) for line in commands)
    replaced_keys = {w.partition("=")[0] for w in (*driver.words, "n_trials=")}
    page_words = [w for w in command[1:] if w.partition("=")[0] not in replaced_keys]
    assert page_words == [SAMPLER, f"storage={PAGE_STORAGE}"]
    return driver, driver.run(f"n_trials={TRIALS}", *page_words, command=command[0])


def test_a_tuning_prints_its_cost_and_ends_in_a_report(tuned: tuple[TuningDriver, str]) -> None:
    driver, output = tuned
    cost = "tuning: 2 trials x 2 arms x 1 seed = 4 runs, and 4 for the table, default and tuned; "
    assert output.startswith(f"{cost}not measured yet\n")
    assert f"{cost}the trials take about" in output
    assert output.count("audit: training each arm for a few steps ...") == 1
    page = (driver.store.report_path(driver.tuned().sweep_id) / "report.html").read_text()
    assert "Default and tuned hyper-parameters" in page
    assert "Best score against trials" in page
    assert "no arm has enough completed trials" in page, "importances"
    rows = driver.table("trials")
    trials = [t for round_ in driver.rounds() for (t,) in round_.trials.values()]
    assert sorted(float(row["score"]) for row in rows) == pytest.approx(
        sorted(t.score for t in trials)
    )


def test_status_shows_the_progress_of_a_tuning(tuned: tuple[TuningDriver, str]) -> None:
    driver, _ = tuned
    *_, trials, tuned_sweep = driver.tune_here(command="status").splitlines()
    (study,) = (driver.folder / "sweeps").glob("*/tuning/*")
    assert trials == f"{study.relative_to(driver.folder / 'sweeps')}/{TRIALS - 1}-0: 2 complete"
    assert tuned_sweep == f"{driver.tuned().sweep_id}: 2 complete"


def test_every_arm_had_the_same_trials_and_steps(tuned: tuple[TuningDriver, str]) -> None:
    driver, _ = tuned
    rounds = driver.rounds()
    assert len(rounds) == TRIALS
    for round_ in rounds:
        assert round_.trials.keys() == {"full", "clip"}
        assert [t.steps for (t,) in round_.trials.values()] == [9, 9]
        params = [t.params for (t,) in round_.trials.values()]
        assert params[0] == params[1], "arms start from the same values"
    assert rounds[0].trials["full"][0].params["train.learning_rate"] == 0.001, "default first"


def test_trials_are_evaluated_on_no_benchmark(tuned: tuple[TuningDriver, str]) -> None:
    driver, _ = tuned
    assert_finished_once(driver)
    trial_runs = [r for r in driver.store.iter_runs() if r.read_spec()["config"]["seed"] == SEED]
    assert len(trial_runs) == 2 * TRIALS
    assert not any((r.path / "scores").exists() for r in trial_runs)
    scores = {r.id: _validation(driver.store, r.id) for r in trial_runs}
    recorded_scores = [t.score for round_ in driver.rounds() for (t,) in round_.trials.values()]
    assert sorted(scores.values()) == sorted(recorded_scores)


def test_the_best_trial_of_each_arm_is_run_beside_its_default(
    tuned: tuple[TuningDriver, str],
) -> None:
    driver, _ = tuned
    tuning = driver.tuned().tuning
    assert tuning is not None
    rows = {row["arm"]: row for row in driver.table("tuning")}
    for arm in tuning.arms:
        arm_trials = [t for r in driver.rounds() for t in r.trials[arm.arm]]
        assert arm.best_trial == max(arm_trials, key=lambda t: (t.score, -t.number))
        assert arm.default_score == arm_trials[0].score
        row = rows[arm.arm]
        assert float(row["train.learning_rate"]) == arm.best_trial.params["train.learning_rate"]
        assert float(row["difference"]) == pytest.approx(
            float(row["score_tuned"]) - float(row["score_default"])
        )
        assert row["total_steps"] == "18"
        assert _parse_boundary(row) == arm.at_boundary
        config = driver.store.get_run(row["runs_tuned"]).read_spec()["config"]
        assert config["train"]["learning_rate"] == arm.best_trial.params["train.learning_rate"]
        assert (config["seed"], config["train"]["steps"]) == (0, 9)


def test_the_storage_of_the_page_holds_a_study_per_arm(tuned: tuple[TuningDriver, str]) -> None:
    driver, output = tuned
    assert f"trials: optuna-dashboard {PAGE_STORAGE}\n" in output
    storage = f"sqlite:///{driver.folder.parent}/tuning.db"
    (study,) = (driver.folder / "sweeps").glob("*/tuning/*")
    assert not (study / "optuna.journal").exists()
    for arm in ("full", "clip"):
        name = f"{study.relative_to(driver.folder / 'sweeps')}/{arm}"
        trials = optuna.load_study(study_name=name, storage=storage).trials
        expected = [t for round_ in driver.rounds() for t in round_.trials[arm]]
        assert [(t.params, t.value) for t in trials] == [(t.params, t.score) for t in expected]
        assert [t.intermediate_values for t in trials] == [{9: t.score} for t in expected]
        for trial in trials:
            (run_id,) = trial.user_attrs["runs"]
            assert _validation(driver.store, run_id) == trial.value


def test_the_script_and_the_dashboard_of_the_page(
    tuned: tuple[TuningDriver, str], capsys: pytest.CaptureFixture[str]
) -> None:
    driver, _ = tuned
    script, journal_script = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    (command,) = re.findall(r"^\$ optuna-dashboard (.*)$", PAGE.read_text(), re.M)
    scope: dict[str, Any] = {}
    with chdir(driver.folder.parent):
        exec(script, scope)
    lines = capsys.readouterr().out.splitlines()
    tuning = driver.tuned().tuning
    assert tuning is not None
    best_params = {t.arm: t.best_trial.params for t in tuning.arms}
    assert len(lines) == 2
    for line in lines:
        name, _, rest = line.partition(" ")
        assert rest.startswith(f"{best_params[name.rsplit('/', 1)[1]]} ['")
    with start_dashboard(command, driver.folder.parent) as address:
        summaries = read_json(f"{address}/api/studies")["study_summaries"]
    names = [line.split(" ")[0] for line in lines]
    assert [s["study_name"] for s in summaries] == names
    with chdir(driver.folder.parent):
        journal = open_storage("tuning.journal", Path("unused"))
        for name in names:
            optuna.copy_study(from_study_name=name, from_storage=PAGE_STORAGE, to_storage=journal)
        exec(journal_script, scope)
    assert capsys.readouterr().out == f"{names}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("storage=postgresql+psycopg://me:secret@127.0.0.1:1/db",), "cannot be used"),
        (("sampler_options={startup: 1}",), "sampler=gp does not accept"),
        (("sampler_options={seed: 1}",), "write sampler_seed=<number>"),
        (("pruner=MedianPruner", "pruner_options={lower: 1}"), "MedianPruner does not accept"),
        (("pruner=median", "pruner_options={lower: 1}"), "pruner=median has none"),
        (("pruner=Median",), "did you mean median or MedianPruner"),
        (("pruner=NopPruner",), "unknown pruner 'NopPruner': write pruner=none"),
    ],
)
def test_what_cannot_be_used_is_one_line_before_anything_is_run(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    driver = TuningDriver(tmp_path / "store")
    output = driver.tune_here(*words, status=2)
    assert message in output
    assert len(output.splitlines()) == 1
    assert "secret" not in output
    assert driver.endings() == {}


def test_tuning_again_does_nothing_and_leaves_the_same_bytes(
    tuned: tuple[TuningDriver, str],
) -> None:
    driver, _ = tuned
    before, endings, rounds = driver.table("tuning"), driver.endings(), driver.rounds()
    output = driver.tune_here(f"storage={PAGE_STORAGE}")
    assert "round" not in output
    assert "(unchanged)" in output
    assert (driver.table("tuning"), driver.endings(), driver.rounds()) == (before, endings, rounds)


def test_the_limit_covers_a_whole_study(tuned: tuple[TuningDriver, str]) -> None:
    """Each single round would be below it."""
    words = ("n_trials=500", "max_gpu_hours=0.02")
    output = tuned[0].tune_here(*words, status=2)
    assert "max_gpu_hours=0.02: 1002 runs would take about" in output, "the tuned table too"


def test_the_limit_covers_trials_and_both_tables_together(tmp_path: Path) -> None:
    """20 trials of two arms, two default runs, two tuned ones: of half an hour each, 22 hours."""
    driver = TuningDriver(tmp_path / "store")
    words = [w for w in driver.words if not w.startswith("ablation")]
    tuner = build_tuner(["ablation=components", *words])
    sweep = driver.store.get_sweep(tuner.resolved_plan.plan.sweep_id)
    audit = AuditRecord(checks=(), training_hash=compute_training_hash(), device_type="cpu")
    atomic_write(sweep.audit_path, to_json_bytes(audit))
    for arm in ("full", "clip"):
        probe = {
            "arm": arm,
            "device": "cpu",
            "seconds_per_step": 200.0,
            "setup_and_eval_seconds": 0.0,
        }
        append_jsonl(sweep.probes_path, probe)
    for limit, status in (("21.9", 2), ("22.1", 0)):
        limited_tuner = build_tuner(["ablation=components", *words, f"max_gpu_hours={limit}"])
        if status:
            with pytest.raises(UserError, match="44 runs would take about 22 "):
                limited_tuner.enforce_gpu_hours_limit()
        else:
            assert limited_tuner.enforce_gpu_hours_limit()
    output = driver.tune_here("n_trials=20", "max_gpu_hours=21.9", status=2)
    assert "44 runs would take about 22 " in output
    assert driver.endings() == {}, "nothing was started"


def test_trials_that_coincide_with_runs_cost_nothing(
    tuned: tuple[TuningDriver, str], tmp_path: Path
) -> None:
    """With the seed of the table, the default values are the run of the default arm."""
    shutil.copytree(tuned[0].folder, tmp_path / "store")
    driver = TuningDriver(tmp_path / "store")
    endings = driver.endings()
    driver.tune_here("n_trials=1", "tuning_seeds=[0]")
    assert driver.endings() == endings
    notes = [p.read_text() for p in driver.folder.glob("reports/*-tuned-*/tables/tuning.md")]
    assert sum("Seeds 0 were used for the selection too" in text for text in notes) == 1


def copy_without_last_round(tuned: TuningDriver, folder: Path) -> tuple[TuningDriver, RunFolder]:
    """Copy a store without the record of its last round; return the run of arm full in it."""
    shutil.copytree(tuned.folder, folder / "store")
    driver = TuningDriver(folder / "store")
    (record,) = driver.folder.glob("sweeps/*/tuning/*/1.json")
    record.unlink()
    plan = driver.store.get_sweep(
        str((record.parent / "1-0").relative_to(driver.folder / "sweeps"))
    ).read_plan()
    assert plan is not None
    return driver, driver.store.get_run(next(c.run_id for c in plan.cells if c.arm == "full#1"))


def test_a_failed_trial_stops_the_tuning_with_its_reason(
    tuned: tuple[TuningDriver, str], tmp_path: Path
) -> None:
    driver, run = copy_without_last_round(tuned[0], tmp_path)
    (run.path / "outcome.json").unlink()
    attempt = run.claim_attempt(2, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken image")
    output = driver.tune_here(status=1)
    message = f"1 runs of trials are not finished; {run.id} is failed: ValueError: broken"
    assert message in output
    assert "with retry=failed it runs them again" in output
    assert len(driver.rounds()) == 1


def test_a_diverged_trial_has_the_lowest_score(
    tuned: tuple[TuningDriver, str], tmp_path: Path
) -> None:
    driver, run = copy_without_last_round(tuned[0], tmp_path)
    outcome = run.read_outcome()
    assert outcome is not None
    diverged = dataclasses.replace(outcome, kind="diverged", step=4, weights_digest=None)
    atomic_write(run.path / "outcome.json", to_json_bytes(diverged))
    driver.tune_here()
    (trial,) = driver.rounds()[1].trials["full"]
    assert (trial.score, trial.steps, trial.n_diverged, trial.completed) == (0.0, 4, 1, True)
    rows = {
        row["arm"]: row
        for p in driver.folder.glob("reports/*-tuned-*/tables/tuning.csv")
        for row in csv.DictReader(io.StringIO(p.read_text()))
        if row["num_diverged"] == "1"
    }
    assert (rows["full"]["best_trial"], rows["full"]["total_steps"]) == ("1", "13")


def list_sent_lines(server: WebhookServer) -> list[str]:
    """Return the lines that a webhook was sent, without the ids of their sweeps."""
    return [line.partition(": ")[2] for text in server.texts for line in text.splitlines()]


def test_a_tuning_is_one_stream_of_notifications(
    tuned: tuple[TuningDriver, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed trial is told; then its end and that of the sweep, once; no file has the URL."""
    monkeypatch.setenv(URL_VARIABLE, "")
    monkeypatch.setattr(sweep_notifier, "Notifier", partial(Notifier, interval=0.5))
    driver, run = copy_without_last_round(tuned[0], tmp_path)
    outcome = (run.path / "outcome.json").read_bytes()
    (run.path / "outcome.json").unlink()
    attempt = run.claim_attempt(2, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken image")
    with serve_webhook() as server:
        driver.tune_here(f"notify={server.url}", status=1)
        assert list_sent_lines(server) == ["full#1/1000 failed: ValueError: broken image"]
        atomic_write(run.path / "outcome.json", outcome)
        for _ in range(2):
            driver.tune_here(f"notify={server.url}")
        trials = f"tuning done ({2 * TRIALS} trials); the tuned arms are next"
        assert list_sent_lines(server)[1:] == [trials, "done (2 complete)"]
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in paths if SECRET.encode() in path.read_bytes()]


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="a minute: `make soak`")
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_tuning_that_is_killed_continues_with_the_same_study(
    tuned: tuple[TuningDriver, str], tmp_path: Path, victim: str
) -> None:
    driver = TuningDriver(tmp_path / "store")
    process = driver.start(f"n_trials={TRIALS}", SAMPLER, command="tune")
    wait_until(lambda: any(driver.folder.glob("sweeps/*/tuning/*/*/plan.json")), seconds=400)
    time.sleep(random.Random(time.time_ns()).uniform(0, 6))
    kill([process.pid] if victim == "controller" else driver.everything())
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    driver.tune()
    assert_finished_once(driver)
    assert driver.rounds() == tuned[0].rounds()
    assert driver.table("tuning") == tuned[0].table("tuning")
    assert driver.table("tuned_effects") == tuned[0].table("tuned_effects")


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="half a minute: `make soak`")
def test_hyperband_pauses_and_continues_real_runs(tmp_path: Path) -> None:
    driver = TuningDriver(tmp_path / "store")
    driver.run("n_trials=3", "pruner=hyperband", command="tune")
    (round_,) = driver.rounds()
    ended = sorted(kinds for kinds in driver.endings().values())
    assert ended.count(["paused"]) == 4, "two of three trials, two arms"
    assert ended.count(["paused", "trained"]) == 2
    for trials in round_.trials.values():
        assert sorted(t.steps for t in trials) == [3, 3, 9]
        (winner,) = (t for t in trials if t.completed)
        assert winner.rung_scores["0"] == max(t.rung_scores["0"] for t in trials)
    arms = driver.tuned().tuning
    assert arms is not None
    assert [(a.n_pruned, a.steps) for a in arms.arms] == [(2, 15), (2, 15)]
    output = driver.run("n_trials=3", "pruner=hyperband", command="tune")
    assert "round" not in output


def _validation(store: Store, run: str) -> float:
    (last,) = (
        r
        for r in store.get_run(run).read_history()
        if r["phase"] == "validation" and r["step"] == 9
    )
    return float(last["score"])


def _parse_boundary(row: dict[str, str]) -> dict[str, str]:
    return dict(pair.split(":") for pair in row["at_boundary"].split())


def test_a_tuning_is_read_back_as_it_was_written(tuned: tuple[TuningDriver, str]) -> None:
    tuning = tuned[0].tuned().tuning
    assert tuning is not None
    assert all(isinstance(arm, TunedArm) for arm in tuning.arms)
    assert (tuning.n_trials, tuning.seeds, tuning.space) == (TRIALS, (SEED,), "optimizer")
    assert tuning.sampler == "gp"
    assert tuning.dimensions["train.learning_rate"]["high"] == 0.02
    assert "storage" not in " ".join(tuned[0].tuned().overrides), "it may hold a password"


def make_tuned_arm(arm: str, **changes: Any) -> TunedArm:
    trial = Trial(
        number=1,
        params={"train.learning_rate": 0.01},
        rung_scores={"0": 0.5},
        completed=True,
        steps=9,
    )
    fields = {
        "best_trial": trial,
        "default_score": 0.25,
        "n_trials": 2,
        "n_pruned": 0,
        "n_diverged": 0,
        "steps": 18,
        "at_boundary": {},
    }
    return TunedArm(arm=arm, **{**fields, **changes})


def test_each_arm_is_described_in_one_line() -> None:
    tuning = Tuning(
        default_sweep="s", space="optimizer", pruner="none", n_trials=2, seeds=(SEED,),
        arms=(
            make_tuned_arm("full", at_boundary={"train.learning_rate": "upper"}),
            make_tuned_arm("clip", default_score=None),
        ),
    )  # fmt: skip
    assert describe_tuning(tuning) == [
        "full: train.learning_rate=0.01, trial 2 of 2; validation 0.250 -> 0.500 "
        "(at the boundary of the search space: train.learning_rate)",
        "clip: train.learning_rate=0.01, trial 2 of 2; validation n/a -> 0.500",
    ]


def test_unequal_trials_or_steps_are_an_error_of_the_program() -> None:
    study = Study(arms=("full", "clip"), space={}, n_trials=2)
    full, clip = make_tuned_arm("full"), make_tuned_arm("clip")
    lengths = {"full": 9, "clip": 9}
    assert_equal_trials(study, [full, clip], lengths)
    assert_equal_trials(study, [full, make_tuned_arm("clip", steps=36)], {"full": 9, "clip": 18})
    assert_equal_trials(study, [full, make_tuned_arm("clip", steps=12, n_diverged=1)], lengths)
    with pytest.raises(AssertionError, match="same trials"):
        assert_equal_trials(study, [full, make_tuned_arm("clip", n_trials=1)], lengths)
    with pytest.raises(AssertionError, match="same steps"):
        assert_equal_trials(study, [full, make_tuned_arm("clip", steps=12)], lengths)
    median_study = dataclasses.replace(study, pruner="median")
    assert_equal_trials(median_study, [full, make_tuned_arm("clip", steps=12)], lengths)
