"""Scores from the file of a program."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.commands.score_file import compute_evaluation_hash, read_scores
from uniclip.errors import UserError

DEFINITIONS = {
    "r1": ScoreDefinition(kind="recall", key="test.R@1", chance=0.1, num_samples=50),
    "rank": ScoreDefinition(kind="rank"),
}


def test_nested_names_and_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"rank": 9}\n{"test": {"R@1": 0.25}, "rank": 3}\n{"half')
    r1, rank = read_scores(path, DEFINITIONS)
    assert (r1.name, r1.value, r1.kind, r1.chance, r1.num_samples) == (
        "r1",
        0.25,
        "recall",
        0.1,
        50,
    )
    assert (rank.name, rank.value) == ("rank", 3.0)


def test_the_last_number_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,rank,test.R@1\n1,9,0.1\n2,,0.25\n3,3,\n")
    r1, rank = read_scores(path, DEFINITIONS)
    assert (r1.value, rank.value) == (0.25, 3.0)
    path.write_bytes(b"rank\n\xff\n")
    with pytest.raises(UserError, match="is no CSV in UTF-8"):
        read_scores(path, DEFINITIONS)


def test_a_score_that_is_not_finite_is_no_score(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"test": {"R@1": NaN}, "rank": 3}')
    assert read_scores(tmp_path / "s.json", DEFINITIONS) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("[1]", "must hold a JSON object"),
        ("{", "is not JSON"),
        ('{"rank": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"rank": 1}', "no number 'test.R@1' for the score r1; it has rank"),
        ('{"test": {"R@1": ' + "9" * 400 + '}, "rank": 1}', "no number 'test.R@1'"),
        ('{"test": {"R@1": true}, "rank": 1}', "no number 'test.R@1'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_scores(tmp_path / "s.json", DEFINITIONS)


def test_the_hash_covers_what_is_read() -> None:
    def hash_scores(**fields: object) -> str:
        score = ScoreDefinition(**fields)  # type: ignore[arg-type]
        return compute_evaluation_hash(
            CommandDefinition(run="x", steps="1", scores={"a": score}, metrics_file="m")
        )

    assert hash_scores() == hash_scores(key="a")
    assert len({hash_scores(), hash_scores(key="b"), hash_scores(chance=0.5)}) == 3
