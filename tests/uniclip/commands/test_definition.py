"""What a command must declare."""

from __future__ import annotations

import pytest

from uniclip.commands.definition import CommandDefinition, ScoreDefinition
from uniclip.config.binding import bind
from uniclip.errors import UserError

VALID = {"run": "train {seed} {output}", "steps": "5", "scores": {"r1": {"kind": "recall"}}}


def test_the_first_score_is_primary() -> None:
    definition = bind(CommandDefinition, {**VALID, "metrics_file": "m.jsonl"})
    definition.validate()
    assert definition.primary_score == "r1"
    assert definition.scores["r1"] == ScoreDefinition(kind="recall")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "one of metrics_file and log_pattern"),
        ({"metrics_file": "m", "log_pattern": "(?P<step>.)"}, "one of metrics_file and log_"),
        ({"metrics_file": "m", "log_file": "x"}, "belong to log_pattern"),
        ({"log_pattern": "loss (?P<loss>.*)"}, r"no group \(\?P<step>"),
        ({"log_pattern": "(?P<epoch>.)", "step_from": {"batch": 1}}, r"no group \(\?P<batch>"),
        ({"log_pattern": "(?P<step>"}, "no regular expression"),
        ({"metrics_file": "m", "scores": {}}, "scores is empty"),
        ({"metrics_file": "m", "files": {"../c": "x"}}, "must be a name of a file"),
        ({"metrics_file": "m", "environment": {"A B": "1"}}, "no name of a variable"),
    ],
)
def test_contradictions_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        bind(CommandDefinition, {**VALID, **changes}).validate()
