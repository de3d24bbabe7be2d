"""The command line and the spec of a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.helpers.command_ablations import plan_command
from uniclip.commands.invocation import read_invocation
from uniclip.errors import UserError
from uniclip.identity import compute_run_id


def test_the_spec_and_the_plan_give_the_command_line(tmp_path: Path) -> None:
    resolved_plan = plan_command(tmp_path, command={"resume": "--again {steps}"}, arms={
        "base": {}, "gain": {"overrides": {"gain": 2.0, "flags": ["--noise"]}},
    })  # fmt: skip
    plan = resolved_plan.plan
    run_id = next(c.run_id for c in plan.cells if c.name == "gain/1")
    spec = resolved_plan.specs[run_id]
    assert compute_run_id(spec) == run_id
    invocation = read_invocation(spec, plan.run_only_values("gain"))
    output = Path("/out")
    assert invocation.build_words(output, resumes=False) == [
        *(sys.executable, "-S", f"{tmp_path}/ablation/program.py", "--seed", "1"),
        *("--out", "/out", "--steps", "5", "--gain", "2.0", "--seconds", "0.0", "--noise"),
    ]
    assert invocation.substitute(output, resumes=True)["resume"] == ["--again", "5"]
    assert invocation.total_steps == 5
    assert invocation.get_scores_path(output) == Path("/out/scores.json")


def test_steps_must_be_a_number(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="command.steps must be a whole number above 0, got 'all'"):
        plan_command(tmp_path, "steps=all")


def test_a_run_of_our_own_training_is_refused() -> None:
    with pytest.raises(UserError, match="not that of a run of a command"):
        read_invocation({"config": {}, "data": {}}, {})
