"""The executor of a cell reads the configuration from the spec and the run-only sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.small_runs import claimed, opened, tiny
from uniclip import cell, run
from uniclip.config.binding import to_builtins
from uniclip.numerics import get_numerics_class

RUN_ONLY = {"runtime": {"device": "cpu", "log_every": 3}, "benchmark": ["scenes"]}


def test_the_numerics_class_is_that_of_the_configuration(tmp_path: Path) -> None:
    config = tiny(train={"precision": "bf16"})
    folder = opened(tmp_path, config)
    assert cell.resolve_numerics_class(folder, RUN_ONLY) == get_numerics_class(config)


def test_a_cell_is_executed_with_spec_and_run_only_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(seed=3)
    folder = opened(tmp_path, config)
    attempt, calls = claimed(folder), []

    def record_call(*arguments: Any, **options: Any) -> str:
        calls.append((arguments, options))
        return "trained"

    monkeypatch.setattr(run, "execute_run", record_call)
    monkeypatch.setattr(run, "run_nonzero_rank", record_call)
    assert cell.execute(folder, RUN_ONLY, attempt, {"scenes": "ab"}, bool) == "trained"
    cell.run_nonzero_rank(folder, RUN_ONLY, bool)
    (execute_arguments, execute_options), (other_arguments, other_options) = calls
    executed_config = execute_arguments[1]
    assert execute_arguments == (folder, executed_config, attempt)
    assert execute_options == {"evaluations": {"scenes": "ab"}, "stop": bool}
    assert (other_arguments, other_options) == ((executed_config,), {"stop": bool})
    expected = {**to_builtins(config), "benchmark": ["scenes"]}
    expected["runtime"] = {**expected["runtime"], "device": "cpu", "log_every": 3}
    assert to_builtins(executed_config) == expected


def test_a_single_process_is_rank_zero_and_broadcasts_to_itself() -> None:
    assert cell.init_process_group(RUN_ONLY) == 0
    assert cell.broadcast_object({"run": "ab"}) == {"run": "ab"}
    cell.destroy_process_group()
