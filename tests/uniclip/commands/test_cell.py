"""Cells that a program trains: from claim to scores, stopped, failed and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers import fake_sweep
from tests.helpers.command_ablations import plan_command
from uniclip.commands import cell
from uniclip.errors import DataChangedError, UserError
from uniclip.io.atomic import read_jsonl
from uniclip.store import Plan, RunFolder, Store


class ToyCell:
    """The cell gain/0 of a sweep of toy programs."""

    def __init__(self, folder: Path, *words: str, **changes: Any) -> None:
        resolved_plan = plan_command(folder, *words, **changes)
        self.plan: Plan = resolved_plan.plan
        run_id = next(c.run_id for c in self.plan.cells if c.name == "gain/0")
        self.store = Store(folder / "store")
        self.run: RunFolder = self.store.get_run(run_id)
        self.run.write_spec(resolved_plan.specs[run_id])
        self.evaluations = self.plan.evaluation_hashes["gain"]

    def execute(self, stop: Any = lambda: False) -> str:
        self.attempt = fake_sweep.begin(self.store, self.run.id)
        run_only = self.plan.run_only_values("gain")
        return cell.execute(self.run, run_only, self.attempt, self.evaluations, stop)

    @property
    def num_starts(self) -> int:
        return len((self.run.path / "output" / "starts").read_text().split())


def test_metrics_outcome_and_scores(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path)
    assert toy.execute() == "trained"
    train = [r for r in toy.run.read_history() if r["phase"] == "train"]
    assert [r["step"] for r in train] == [1, 2, 3, 4, 5]
    assert train[0]["loss"] == 2.0
    assert train[0]["batch"] == "0-1"
    assert all(r["seconds"] == r["attempt_seconds"] > 0 for r in train)
    outcome = toy.run.read_outcome()
    assert outcome is not None
    assert (outcome.kind, outcome.step, outcome.training_hash) == ("trained", 5, "")
    assert outcome.numerics_class == {"device": "cpu"}
    scores = toy.run.read_scores("program", toy.evaluations["program"])
    assert scores is not None
    assert [(s.name, s.value, s.chance) for s in scores.scores] == [("accuracy", 0.6, 0.1)]
    heartbeat = toy.attempt.read_heartbeat()
    assert heartbeat is not None
    assert (heartbeat.step, heartbeat.total_steps) == (5, 5)


def test_a_finished_run_is_not_started_again(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path)
    toy.execute()
    assert toy.execute() == "evaluated"
    assert toy.num_starts == 1


def test_a_stopped_run_resumes_where_it_was(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, "seconds=0.05", "steps=40")
    reached = lambda: toy.run.path.joinpath("output/state.json").exists()  # noqa: E731
    assert toy.execute(stop=reached) == "interrupted"
    assert toy.attempt.progress_path.exists()
    first = read_jsonl(toy.attempt.metrics_path)
    assert toy.run.read_outcome() is None
    assert toy.execute() == "trained"
    second = [r for r in read_jsonl(toy.attempt.metrics_path) if r["phase"] == "train"]
    assert second[0]["step"] == first[-1]["step"] + 1
    assert second[0]["seconds"] > second[0]["attempt_seconds"] > 0
    assert toy.num_starts == 2


def test_what_a_killed_worker_did_not_copy_is_copied_later(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, "seconds=0.05", "steps=12")
    reached = lambda: toy.run.path.joinpath("output/state.json").exists()  # noqa: E731
    toy.execute(stop=reached)
    output = toy.run.path / "output"
    (output / "state.json").write_text('{"step": 6}')
    with open(output / "metrics.jsonl", "a") as stream:
        stream.write("".join(f'{{"step": {step}, "loss": 7.5}}\n' for step in range(1, 7)))
    assert toy.execute() == "trained"
    train = [r for r in toy.run.read_history() if r["phase"] == "train"]
    assert [r["step"] for r in train] == [*range(1, 13)]
    assert train[0]["loss"] == 2.0
    assert train[5]["loss"] == 7.5


def test_a_failed_program_is_named_by_its_last_line(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, arms={"base": {}, "gain": {"overrides": {"flags": ["--fail-at=2"]}}})
    with pytest.raises(cell.CommandError, match="status 3"):
        toy.execute()
    assert toy.run.read_outcome() is None


def test_a_program_without_scores_fails(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, command={"scores_file": "other.json"})
    with pytest.raises(UserError, match="without writing its scores"):
        toy.execute()
    assert toy.run.read_outcome() is None


def test_sources_that_changed_since_the_plan_are_refused(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path)
    with open(tmp_path / "ablation" / "program.py", "a") as stream:
        stream.write("# changed\n")
    with pytest.raises(DataChangedError, match="program.py"):
        toy.execute()
    assert not (toy.run.path / "output").exists()


def test_a_newer_attempt_ends_the_program(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, "seconds=0.05", "steps=2000")

    def claim_another() -> bool:
        if toy.run.list_attempts() == [1] and toy.attempt.progress_path.exists():
            fake_sweep.begin(toy.store, toy.run.id)
        return False

    assert toy.execute(stop=claim_another) == "superseded"
    assert toy.run.read_outcome() is None


def test_a_score_that_is_not_finite_is_a_diverged_run(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, arms={"base": {}, "gain": {"overrides": {"gain": "nan"}}})
    assert toy.execute() == "diverged"
    outcome = toy.run.read_outcome()
    assert outcome is not None
    assert outcome.kind == "diverged"
