"""Cells that a program trains: from claim to scores, stopped, failed and resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import fake_sweep
from tests.helpers.command_ablations import plan_command
from uniclip.commands import cell
from uniclip.commands.invocation import read_invocation
from uniclip.commands.program import ProgramEnd
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

    def make_execution(self, stop: Any = lambda: False) -> cell.Execution:
        """Return an attempt whose program has ended, after its last step."""
        attempt = fake_sweep.begin(self.store, self.run.id)
        invocation = read_invocation(self.run.read_spec(), self.plan.run_only_values("gain"))
        output = self.run.path / "output"
        execution = cell.Execution(self.run, attempt, invocation, output, stop)
        execution.step = execution.total_steps = invocation.total_steps
        output.mkdir(exist_ok=True)
        return execution

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
    outcome = toy.run.read_outcome()
    assert outcome is not None
    assert 1e6 < outcome.cost["peak_memory_bytes"] < 1e9


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


def test_files_are_written_before_the_program_starts(tmp_path: Path) -> None:
    text = '{"gain": {gain}, "flags": {flags}, "out": "{output}"}'
    command = {"files": {"config.json": text}, "resume": "--ignored 1"}
    run = (
        "{python} -S {here}/program.py --seed {seed} --out {output} --steps {steps} "
        "--gain {gain} --seconds {seconds} {flags} {resume}"
    )
    toy = ToyCell(tmp_path, command={**command, "run": run})
    output = toy.run.path / "output"
    output.mkdir()
    (output / "config.json").write_text("of an attempt that was killed before its program began")
    assert toy.execute() == "trained"
    assert json.loads((output / "config.json").read_text()) == {
        "gain": 1.0, "flags": [], "out": str(output),
    }  # fmt: skip
    (started,) = [e for e in read_jsonl(toy.attempt.events_path) if e["event"] == "started"]
    assert "--ignored" not in started["words"], "there was nothing to resume from"


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


def test_a_finished_run_whose_new_score_is_not_finite_fails(tmp_path: Path) -> None:
    """It counts as trained: were it interrupted, workers would take it again and again."""
    toy = ToyCell(tmp_path)
    toy.execute()
    (toy.run.path / "output" / "scores.json").write_text('{"test": {"accuracy": NaN}}')
    toy.evaluations = {"program": "another"}
    with pytest.raises(UserError, match="is not finite, of a run that counts as trained"):
        toy.execute()


def test_scores_from_before_the_stop_are_not_those_of_the_last_step(tmp_path: Path) -> None:
    end = ProgramEnd(exit_status=0, was_stopped=True)
    execution = ToyCell(tmp_path).make_execution(stop=lambda: True)
    scores_path = execution.output / "scores.json"
    assert execution._should_stop()
    assert execution._classify(end) == "interrupted", "it was stopped before it had scored"
    scores_path.write_text("{}")
    assert execution._should_stop()
    assert execution._classify(end) == "interrupted", "these may be of an earlier step"
    scores_path.write_text('{"test": {"accuracy": 0.5}}')
    assert execution._classify(end) is None
    execution.step -= 1
    assert execution._classify(end) == "interrupted"


@pytest.mark.parametrize("checkpoint", ["epoch_*.pt", "model"])
def test_a_checkpoint_that_is_written_after_the_stop_ends_a_run_without_scores(
    tmp_path: Path, checkpoint: str
) -> None:
    end = ProgramEnd(exit_status=0, was_stopped=True)
    command = {"checkpoint": checkpoint, "scores": {}}
    toy = ToyCell(tmp_path, "benchmark=cifar10", command=command)
    execution = toy.make_execution(stop=lambda: True)
    path = execution.output / ("epoch_3.pt" if "*" in checkpoint else "model/weights.bin")
    assert execution._should_stop()
    assert execution._classify(end) == "interrupted", "there is no checkpoint"
    path.parent.mkdir(exist_ok=True)
    path.write_text("of an earlier step")
    assert execution._should_stop()
    assert execution._classify(end) == "interrupted", "it may be of an earlier step"
    path.write_text("of the last step")
    assert execution._classify(end) is None
    execution.step -= 1
    assert execution._classify(end) == "interrupted"


def test_a_signal_that_reaches_the_program_first_is_no_failure(tmp_path: Path) -> None:
    end = ProgramEnd(exit_status=1, was_stopped=False)
    toy = ToyCell(tmp_path)
    assert toy.make_execution(stop=lambda: True)._classify(end) == "interrupted"
    with pytest.raises(cell.CommandError, match="status 1"):
        toy.make_execution()._classify(end)


def test_a_program_that_ends_with_status_0_at_a_signal_is_finished_if_it_has_scored(
    tmp_path: Path,
) -> None:
    end = ProgramEnd(exit_status=0, was_stopped=False)
    toy = ToyCell(tmp_path)
    execution = toy.make_execution(stop=lambda: True)
    assert execution._classify(end) == "interrupted", "it has written no scores"
    assert toy.make_execution()._classify(end) is None, "that it has none is its error"
    (execution.output / "scores.json").write_text('{"test": {"accuracy": 0.5}}')
    assert toy.make_execution(stop=lambda: True)._classify(end) is None
    execution = toy.make_execution(stop=lambda: True)
    execution.step -= 1
    assert execution._classify(end) == "interrupted", "these are scores of an earlier step"
    execution._last_step_before = execution.total_steps
    assert execution._classify(end) is None, "this attempt had only to score"


def test_an_attempt_that_only_scores_keeps_the_seconds_of_training(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path, "seconds=0.3", command={"scores_file": "other.json"})
    with pytest.raises(UserError, match="without writing its scores"):
        toy.execute()
    seconds = toy.run.read_history()[-1]["seconds"]
    (toy.run.path / "output" / "other.json").write_text('{"test": {"accuracy": 0.5}}')
    assert toy.execute() == "trained"
    outcome = toy.run.read_outcome()
    assert outcome is not None
    assert outcome.cost["training_seconds"] > seconds >= 1.5


def test_seconds_that_the_program_logs_are_not_those_of_the_attempt(tmp_path: Path) -> None:
    toy = ToyCell(tmp_path)
    output = toy.run.path / "output"
    output.mkdir()
    record = '{"step": 1, "seconds": "2 s", "attempt_seconds": "2 s", "loss": 7.5}'
    (output / "metrics.jsonl").write_text(record + "\n")
    (output / "state.json").write_text('{"step": 1}')
    assert toy.execute() == "trained"
    train = [r for r in toy.run.read_history() if r["phase"] == "train"]
    assert train[0] == {"phase": "train", "step": 1, "loss": 7.5}
    assert toy.attempt.read_training_seconds() > 0
