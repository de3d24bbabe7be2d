"""Records are read back unchanged; damage is one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.store_records import make_claim_record, make_outcome
from uniclip.config.binding import to_builtins
from uniclip.errors import UserError
from uniclip.io import atomic
from uniclip.store import (
    ClaimRecord,
    DatasetScores,
    Heartbeat,
    Outcome,
    Score,
    Store,
    json_io,
)


def test_records_are_read_back_unchanged(tmp_path: Path) -> None:
    score = Score(name="retrieval.r1", value=0.5, kind="recall", chance=0.01, num_samples=100)
    scores = DatasetScores(
        dataset="d",
        evaluation_hash="e",
        protocol={"k": [1, 5]},
        weights_digest="w",
        scores=(score, score),
    )
    for record in (
        make_claim_record(job_id="7"),
        make_outcome(),
        make_outcome(weights_digest=None, best_step=None),
        scores,
    ):
        atomic.write_once(tmp_path / str(id(record)), json_io.to_json_bytes(record))
        assert json_io.read_record(type(record), tmp_path / str(id(record))) == record
    assert json_io.read_record(ClaimRecord, tmp_path / "none") is None


def test_a_record_refuses_nan() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_io.to_json_bytes(
            Score(name="x", value=float("nan"), kind="gap", chance=None, num_samples=1)
        )


DAMAGES = {
    "empty": b"",
    "cut": b'{"kind": "trained", "ste',
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "a field lacks": b'{"kind": "trained"}',
    "another kind": b'{"kind": "finished"}',
    "a strange field": b'{"extra": 1}',
    "nan": json_io.to_json_bytes(make_outcome()).replace(b"1.0", b"NaN"),
    "no bottom": b'{"kind": ' * 100_000,
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("file", ["outcome", "scores", "owner", "ended", "plan"])
def test_a_damaged_record_is_one_line_that_names_the_file(
    tmp_path: Path, file: str, damage: str
) -> None:
    lab = Store(tmp_path)
    run, sweep = lab.get_run("r"), lab.get_sweep("s")
    attempt = run.get_attempt(1)
    path, read = {
        "outcome": (run.path / "outcome.json", run.read_outcome),
        "scores": (run.scores_path("d", "e"), lambda: run.read_scores("d", "e")),
        "owner": (attempt.claim_path, attempt.read_claim),
        "ended": (attempt.path / "end.json", attempt.read_end),
        "plan": (sweep.path / "plan.json", sweep.read_plan),
    }[file]
    assert read() is None
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGES[damage])
    with pytest.raises(UserError) as caught:
        read()
    assert str(path) in str(caught.value)
    assert "damaged" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_no_record_has_is_refused_at_every_depth(tmp_path: Path) -> None:
    """msgspec alone passes over it."""
    score = Score(name="r1", value=0.5, kind="recall", chance=None, num_samples=1)
    scores = DatasetScores(
        dataset="d", evaluation_hash="e", protocol={}, weights_digest="w", scores=(score,)
    )
    path = tmp_path / "scores.json"
    for foreign in ({"extra": 1}, {"scores": [{**to_builtins(score), "extra": 1}]}):
        values = {**to_builtins(scores), **foreign}
        path.write_text(json.dumps(values))
        with pytest.raises(UserError, match=r"scores\.json is damaged .*extra"):
            json_io.read_record(DatasetScores, path)
    heartbeat = {"time": 1.0, "step": 1, "total_steps": 2, "steps_per_second": 1.0, "phase": "p"}
    path.write_text(json.dumps({**heartbeat, "claim": None}))
    assert json_io.read_record(Heartbeat, path) is not None
    path.write_text(json.dumps({**heartbeat, "claim": {"host": "h", "extra": 1}}))
    with pytest.raises(UserError, match=r"claim"):
        json_io.read_record(Heartbeat, path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "outcome.json"
    path.write_bytes(json_io.to_json_bytes(make_outcome()).replace(b"1.0", number.encode()))
    with pytest.raises(UserError, match=r"outcome\.json is damaged \(cost\.seconds must be a fin"):
        json_io.read_record(Outcome, path)


def test_what_only_the_standard_library_reads_is_read(tmp_path: Path) -> None:
    """A lone surrogate, as in the name of a file that is not valid UTF-8."""
    path = tmp_path / "claim.json"
    path.write_bytes(json_io.to_json_bytes(make_claim_record(host="a\udc80b")))
    record = json_io.read_record(ClaimRecord, path)
    assert record is not None
    assert record.host == "a\udc80b"
