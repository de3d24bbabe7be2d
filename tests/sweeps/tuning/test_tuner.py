"""Tuning through the real command line: real runs, killed and gone on, pruned and reported."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.tuning import tuner as tuning
from tests.helpers.command_line import TINY, Driver, assert_finished_once, kill, wait_until
from uniclip.errors import UserError
from uniclip.identity import compute_training_hash
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import AuditRecord, Plan, RunFolder, Store, TunedArm, TuningRound
from uniclip.store.json_io import to_json_bytes

WORDS = (
    "arms=[full,clip]",
    "seeds=1",
    "launcher.max_workers=1",
    "train.steps=9",
    "train.validate_every=3",
)
TRIALS = 2
VICTIMS = ["controller", "all"] * 5 if os.environ.get("UNICLIP_SOAK") else ["controller"]
"""Who is killed."""
SEED = 1000


class Tuning(Driver):
    """A store with a tuning in it; runs of three validations."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        ours = {word.partition("=")[0] for word in (*WORDS, "runtime.checkpoint_seconds")}
        theirs = [word for word in TINY if word.partition("=")[0] not in ours]
        self.words = (*theirs, *WORDS, f"store={folder}")

    def tune(self, *words: str, status: int = 0) -> str:
        return self.run(f"n_trials={TRIALS}", *words, command="tune", status=status)

    def rounds(self) -> list[TuningRound]:
        """What the one study in the store was told."""
        (folder,) = (self.folder / "sweeps").glob("*/tuning/*")
        name = folder.relative_to(self.folder / "sweeps")
        study = self.store.get_study(name.parts[0], name.name)
        return [r for n in range(99) if (r := study.read_round(n)) is not None]

    def tuned(self) -> Plan:
        """The plan of the tuned arms."""
        (plan,) = (p for s in self.store.iter_sweeps() if (p := s.read_plan()) and p.tuning)
        return plan

    def table(self, name: str) -> list[dict[str, str]]:
        """A table of the tuned arms' report."""
        folder = self.store.report_path(self.tuned().sweep_id) / "tables"
        return list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text())))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tuning, str]:
    driver = Tuning(tmp_path_factory.mktemp("tuned") / "store")
    return driver, driver.tune()


def test_a_tuning_says_what_it_costs_and_ends_in_a_report(tuned: tuple[Tuning, str]) -> None:
    driver, said = tuned
    cost = "tuning: 2 trials x 2 arms x 1 seed = 4 runs, and 4 for the table, default and tuned; "
    assert said.startswith(f"{cost}not measured yet\n")
    assert f"{cost}the trials take about" in said
    assert said.count("audit: every arm takes a few steps") == 1
    page = (driver.store.report_path(driver.tuned().sweep_id) / "report.html").read_text()
    assert "Default and tuned hyper-parameters, side by side" in page


def test_status_tells_how_far_a_tuning_is(tuned: tuple[Tuning, str]) -> None:
    driver, _ = tuned
    *_, trials, after = driver.run(command="status").splitlines()
    (study,) = (driver.folder / "sweeps").glob("*/tuning/*")
    assert trials == f"{study.relative_to(driver.folder / 'sweeps')}/{TRIALS - 1}-0: 2 complete"
    assert after == f"{driver.tuned().sweep_id}: 2 complete"


def test_every_arm_had_the_same_trials_and_steps(tuned: tuple[Tuning, str]) -> None:
    driver, _ = tuned
    rounds = driver.rounds()
    assert len(rounds) == TRIALS
    for round_ in rounds:
        assert round_.trials.keys() == {"full", "clip"}
        assert [t.steps for (t,) in round_.trials.values()] == [9, 9]
        points = [t.params for (t,) in round_.trials.values()]
        assert points[0] == points[1], "arms start from the same points"
    assert rounds[0].trials["full"][0].params["train.learning_rate"] == 0.001, "the default first"


def test_trials_are_runs_that_no_benchmark_sees(tuned: tuple[Tuning, str]) -> None:
    driver, _ = tuned
    assert_finished_once(driver)
    tried = [r for r in driver.store.iter_runs() if r.read_spec()["config"]["seed"] == SEED]
    assert len(tried) == 2 * TRIALS
    assert not any((r.path / "scores").exists() for r in tried)
    scores = {r.id: _validation(driver.store, r.id) for r in tried}
    told = [t.score for round_ in driver.rounds() for (t,) in round_.trials.values()]
    assert sorted(scores.values()) == sorted(told)


def test_the_best_of_each_arm_is_run_beside_its_default(tuned: tuple[Tuning, str]) -> None:
    driver, _ = tuned
    tuning = driver.tuned().tuning
    assert tuning is not None
    rows = {row["arm"]: row for row in driver.table("tuning")}
    for arm in tuning.arms:
        of_arm = [t for r in driver.rounds() for t in r.trials[arm.arm]]
        assert arm.best_trial == max(of_arm, key=lambda t: (t.score, -t.number))
        assert arm.default_score == of_arm[0].score
        row = rows[arm.arm]
        assert float(row["train.learning_rate"]) == arm.best_trial.params["train.learning_rate"]
        assert float(row["difference"]) == pytest.approx(
            float(row["tuned"]) - float(row["default"])
        )
        assert row["steps"] == "18"
        assert _edges(row) == arm.at_boundary
        config = driver.store.get_run(row["runs_tuned"]).read_spec()["config"]
        assert config["train"]["learning_rate"] == arm.best_trial.params["train.learning_rate"]
        assert (config["seed"], config["train"]["steps"]) == (0, 9)


def test_tuned_again_does_nothing_and_leaves_the_same_bytes(tuned: tuple[Tuning, str]) -> None:
    driver, _ = tuned
    before, endings, rounds = driver.table("tuning"), driver.endings(), driver.rounds()
    said = driver.tune()
    assert "round" not in said
    assert "(unchanged)" in said
    assert (driver.table("tuning"), driver.endings(), driver.rounds()) == (before, endings, rounds)


def test_a_limit_holds_for_a_whole_study(tuned: tuple[Tuning, str]) -> None:
    """Each of its rounds would pass."""
    words = ("n_trials=500", "max_gpu_hours=0.02")
    said = tuned[0].run(*words, command="tune", status=2)
    assert "max_gpu_hours=0.02: 1002 runs would take about" in said, "the tuned table too"


def test_a_limit_holds_for_the_trials_and_both_tables_together(tmp_path: Path) -> None:
    """20 trials of two arms, two default runs, two tuned ones: of half an hour each, 22 hours."""
    driver = Tuning(tmp_path / "store")
    words = [w for w in driver.words if not w.startswith("ablation")]
    tuner = tuning.build_tuner(["ablation=components", *words])
    sweep = driver.store.get_sweep(tuner.resolved_plan.plan.sweep_id)
    audit = AuditRecord(checks=(), training_hash=compute_training_hash(), device_type="cpu")
    atomic_write(sweep.audit_path, to_json_bytes(audit))
    for arm in ("full", "clip"):
        probe = {"arm": arm, "device": "cpu", "seconds_per_step": 200.0, "fixed_seconds": 0.0}
        append_jsonl(sweep.probes_path, probe)
    for most, status in (("21.9", 2), ("22.1", 0)):
        limited = tuning.build_tuner(["ablation=components", *words, f"max_gpu_hours={most}"])
        if status:
            with pytest.raises(UserError, match="44 runs would take about 22 "):
                limited.enforce_gpu_hours_limit()
        else:
            assert limited.enforce_gpu_hours_limit()
    said = driver.run("max_gpu_hours=21.9", command="tune", status=2)
    assert "44 runs would take about 22 " in said
    assert driver.endings() == {}, "nothing was begun"


def test_trials_that_coincide_with_runs_cost_nothing(
    tuned: tuple[Tuning, str], tmp_path: Path
) -> None:
    """On the seed of the table, the default values are the default arm's own run."""
    shutil.copytree(tuned[0].folder, tmp_path / "store")
    driver = Tuning(tmp_path / "store")
    before = driver.endings()
    driver.run("n_trials=1", "tuning_seeds=[0]", command="tune")
    assert driver.endings() == before
    notes = [p.read_text() for p in driver.folder.glob("reports/*-tuned-*/tables/tuning.md")]
    assert sum("Seeds 0 served the choice too" in text for text in notes) == 1


def untold(tuned: Tuning, folder: Path) -> tuple[Tuning, RunFolder]:
    """A copy of the store in which the last round is not told, and the arm full's run in it."""
    shutil.copytree(tuned.folder, folder / "store")
    driver = Tuning(folder / "store")
    (told,) = driver.folder.glob("sweeps/*/tuning/*/1.json")
    told.unlink()
    plan = driver.store.get_sweep(
        str((told.parent / "1-0").relative_to(driver.folder / "sweeps"))
    ).read_plan()
    assert plan is not None
    return driver, driver.store.get_run(next(c.run_id for c in plan.cells if c.arm == "full#1"))


def test_a_failed_trial_stops_the_tuning_with_its_reason(
    tuned: tuple[Tuning, str], tmp_path: Path
) -> None:
    driver, run = untold(tuned[0], tmp_path)
    (run.path / "outcome.json").unlink()
    attempt = run.claim_attempt(2, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken picture")
    said = driver.tune(status=1)
    assert f"1 runs of trials did not get there; {run.id} is failed: ValueError: broken" in said
    assert "with retry=failed it tries them again" in said
    assert len(driver.rounds()) == 1


def test_a_diverged_trial_is_the_worst(tuned: tuple[Tuning, str], tmp_path: Path) -> None:
    driver, run = untold(tuned[0], tmp_path)
    outcome = run.read_outcome()
    assert outcome is not None
    lost = dataclasses.replace(outcome, kind="diverged", step=4, weights_digest=None)
    atomic_write(run.path / "outcome.json", to_json_bytes(lost))
    driver.tune()
    (trial,) = driver.rounds()[1].trials["full"]
    assert (trial.score, trial.steps, trial.n_diverged, trial.completed) == (0.0, 4, 1, True)
    rows = {
        row["arm"]: row
        for p in driver.folder.glob("reports/*-tuned-*/tables/tuning.csv")
        for row in csv.DictReader(io.StringIO(p.read_text()))
        if row["diverged"] == "1"
    }
    assert (rows["full"]["best_trial"], rows["full"]["steps"]) == ("1", "13")


@pytest.mark.soak
@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_in_the_middle_the_same_study_goes_on(
    tuned: tuple[Tuning, str], tmp_path: Path, victim: str
) -> None:
    driver = Tuning(tmp_path / "store")
    process = driver.start(f"n_trials={TRIALS}", command="tune")
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
def test_hyperband_halts_and_promotes_real_runs(tmp_path: Path) -> None:
    driver = Tuning(tmp_path / "store")
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
    said = driver.run("n_trials=3", "pruner=hyperband", command="tune")
    assert "round" not in said


def _validation(store: Store, run: str) -> float:
    (last,) = (
        r
        for r in store.get_run(run).read_history()
        if r["phase"] == "validation" and r["step"] == 9
    )
    return float(last["score"])


def _edges(row: dict[str, str]) -> dict[str, str]:
    return dict(pair.split(":") for pair in row["edges"].split())


def test_what_was_found_is_read_back_as_it_was_written(tuned: tuple[Tuning, str]) -> None:
    tuning = tuned[0].tuned().tuning
    assert tuning is not None
    assert all(isinstance(arm, TunedArm) for arm in tuning.arms)
    assert (tuning.n_trials, tuning.seeds, tuning.space) == (TRIALS, (SEED,), "optimizer")
