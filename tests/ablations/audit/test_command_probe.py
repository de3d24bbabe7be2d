"""Short runs of a program, and their comparison."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from ablations.audit.command_probe import (
    CommandProbe,
    compare_quantity,
    measure_distance,
    probe_command,
    with_values,
)
from tests.helpers.command_ablations import plan_command
from uniclip.commands.invocation import Invocation, read_invocation
from uniclip.errors import StopRequested, UserError


def build_invocation(folder: Path, *words: str, **changes: Any) -> Invocation:
    resolved_plan = plan_command(folder, *words, **changes)
    cell = next(c for c in resolved_plan.plan.cells if c.name == "base/0")
    run_only = resolved_plan.plan.run_only_values("base")
    return read_invocation(resolved_plan.specs[cell.run_id], run_only)


def never() -> bool:
    return False


def build_probe(**quantities: list[Any]) -> CommandProbe:
    rows = zip(*quantities.values())
    records = {i: dict(zip(quantities, row), step=i) for i, row in enumerate(rows, 1)}
    return CommandProbe(records=records)


def test_what_a_short_run_shows(tmp_path: Path) -> None:
    invocation = with_values(build_invocation(tmp_path), {"steps": 3}, seed_offset=2)
    probe = probe_command(invocation, tmp_path / "probe", never)
    assert probe.get_quantity("loss") == (3.0, 2.5, 1 / 3 + 2)
    assert probe.get_quantity("accuracy") == (0.52,)
    assert probe.list_quantities() == ["loss", "batch", "accuracy"]
    assert probe.total_seconds > 0
    assert not (tmp_path / "probe").exists()


def test_a_killed_run_continues_or_not(tmp_path: Path) -> None:
    words = ("steps=12", "seconds=0.1")
    invocation = build_invocation(tmp_path, *words)
    killed = probe_command(invocation, tmp_path / "probe", never, kill_at=4)
    assert killed.resumed_at >= 5
    assert len(killed.get_quantity("loss")) == 12
    forgetful = with_values(invocation, {"flags": ["--forgets"]})
    assert probe_command(forgetful, tmp_path / "probe", never, kill_at=4).resumed_at == 1


def test_failures_name_the_log(tmp_path: Path) -> None:
    invocation = build_invocation(tmp_path)
    failing = with_values(invocation, {"flags": ["--fail-at=2"]})
    with pytest.raises(UserError, match=r"status 3: something is wrong \(log: .*probe/log\)"):
        probe_command(failing, tmp_path / "probe", never)
    assert "something is wrong" in (tmp_path / "probe" / "log").read_text()
    with pytest.raises(UserError, match="ended before it was killed at step 99"):
        probe_command(invocation, tmp_path / "probe", never, kill_at=99)
    with pytest.raises(StopRequested):
        probe_command(invocation, tmp_path / "probe", lambda: True)


def test_a_difference_must_exceed_that_of_equal_runs() -> None:
    def compare(first: list[list[float]], second: list[list[float]]) -> tuple[bool, bool]:
        result = compare_quantity(
            "loss", [build_probe(loss=x) for x in first], [build_probe(loss=x) for x in second]
        )
        return result.differs, result.equals

    assert compare([[1.0], [1.0]], [[1.0], [1.0]]) == (False, True)
    assert compare([[1.0], [1.0]], [[1.0 + 1e-15], [1.0 + 1e-15]]) == (True, False)
    assert compare([[1.0], [1.1]], [[1.2], [1.25]]) == (False, True)
    assert compare([[1.0], [1.01]], [[2.0], [2.0]]) == (True, False)
    assert compare([[math.nan], [math.nan]], [[math.nan], [math.nan]]) == (False, True)


def test_text_is_equal_or_not() -> None:
    same = [build_probe(batch=["a", "b"])] * 2
    other = [build_probe(batch=["a", "c"])] * 2
    random = [build_probe(batch=["a", "b"]), build_probe(batch=["x", "y"])]
    assert compare_quantity("batch", same, other).differs
    unreproducible = compare_quantity("batch", random, same)
    assert not unreproducible.differs
    assert not unreproducible.equals
    missing = compare_quantity("loss", same, other)
    assert (missing.differs, missing.equals, missing.detail) == (False, False, "loss is not logged")


def test_distance_of_sequences() -> None:
    assert measure_distance([1, 2], [1, 4]) == 2
    assert measure_distance([1], [1, 2]) == math.inf
    assert measure_distance(["a"], [1]) == math.inf
