"""Claims, histories, outcomes and scores in the folder of a run."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.store_records import make_claim_record, make_outcome
from uniclip.io import atomic
from uniclip.store import (
    Store,
)


def test_an_attempt_is_claimed_once_and_numbers_ascend(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    assert run.list_attempts() == []
    for number in range(1, 12):
        attempt = run.claim_attempt(number, make_claim_record(pid=number))
        assert attempt is not None
        assert run.claim_attempt(number, make_claim_record(pid=99)) is None
        assert attempt.read_claim() == make_claim_record(pid=number)
    assert run.list_attempts() == list(range(1, 12))
    assert run.get_attempt(10).is_superseded()
    assert not run.get_attempt(11).is_superseded()


def test_foreign_files_beside_the_claims_are_not_attempts(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    run.claim_attempt(1, make_claim_record())
    for name in (".2.claim.ab12", "1 (copy).claim", "x.claim", ".claim", "2.claim~"):
        (run.path / "attempts" / name).write_text("")
    assert run.list_attempts() == [1]


def test_history_is_that_of_the_newer_attempt_where_attempts_overlap(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    for number, steps in ((1, range(0, 60, 10)), (2, range(30, 100, 10)), (3, ())):
        attempt = run.claim_attempt(number, make_claim_record())
        assert attempt is not None
        for step in steps:
            atomic.append_jsonl(attempt.metrics_path, {"step": step, "loss": float(number)})
            phase = {"step": step, "phase": "validation", "r1": 0.1}
            atomic.append_jsonl(attempt.metrics_path, phase)
        with open(attempt.metrics_path, "a") as torn:
            torn.write('{"step": 1000')
    history = run.read_history()
    losses = {r["step"]: r["loss"] for r in history if "loss" in r}
    assert losses == {s: 1.0 if s < 30 else 2.0 for s in range(0, 100, 10)}
    assert len(history) == 20
    assert [r["step"] for r in history] == sorted(r["step"] for r in history)


def test_an_outcome_is_written_once(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("r")
    assert run.write_outcome(make_outcome(step=3))
    assert not run.write_outcome(make_outcome(step=4))
    assert run.read_outcome() == make_outcome(step=3)


def test_scores_of_data_sets_whose_names_are_paths_are_found(tmp_path: Path) -> None:
    run = Store(tmp_path).get_run("0123456789abcdef")
    paths = ("a/b.csv", "a%2Fb.csv", "/data/100 %/ü.csv", f"/{'x' * 300}.csv")
    names = ["csv", *(f"csv:{path}" for path in paths)]
    for i, name in enumerate(names):
        evaluation_hash = f"{i:08x}"
        assert not run.has_scores({name: evaluation_hash})
        path = run.scores_path(name, evaluation_hash)
        assert atomic.write_once(path, b"{}")
        assert run.predictions_path(name, evaluation_hash).stem == path.stem
        assert run.has_scores({n: f"{j:08x}" for j, n in enumerate(names[: i + 1])})
        assert len(path.name.encode()) < 255
    assert len(run.list_score_paths()) == len(names)
    assert run.has_scores({"csv:/moved/elsewhere.csv": "00000001"})  # the hash holds the content
    assert run.scores_path("csv", "01234567").name == "csv@01234567.json"
