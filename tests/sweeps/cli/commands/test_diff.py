"""`diff`: in what two cells, two runs or two sweeps differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.cli import main
from sweeps.config.request import parse_request
from tests.helpers.command_line import execute
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store


def test_diff_names_the_keys_in_which_two_cells_differ(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert execute("diff", *OVERRIDES, "no-awareness/1") == 0
    text = capsys.readouterr().out
    assert "1 keys differ" in text
    assert "method.augmentation_input" in text
    assert execute("diff", *OVERRIDES, "full/0", "full/1") == 0
    assert "seed" in capsys.readouterr().out
    assert execute("diff", *OVERRIDES, "full/0", "full/0") == 0
    assert "the same run" in capsys.readouterr().out


def store_sweep(store: Store, *words: str) -> Plan:
    resolved_plan = parse_request([*words, f"store={store.root}"]).build_plan()
    store.get_sweep(resolved_plan.plan.sweep_id).write_plan(resolved_plan.plan)
    for run_id, spec in resolved_plan.specs.items():
        store.get_run(run_id).write_spec(spec)
    return resolved_plan.plan


def test_diff_of_ids_reads_the_store_alone(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    first = store_sweep(store, *OVERRIDES, "arms=[full,clip]")
    second = store_sweep(store, *OVERRIDES, "arms=[full]", "train.steps=9", "seeds=1")
    assert execute("diff", first.sweep_id, second.sweep_id[:-1]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    steps = first.base_config["train"]["steps"]
    assert f"train.steps {steps} 9" in lines
    assert "seeds [0, 1] [0]" in lines
    assert any(line.startswith("clip ") for line in lines)
    assert "data: the same content" in lines
    assert any("no score yet" in line for line in lines)
    runs = [first.cells[0].run_id, second.cells[0].run_id]
    assert execute("diff", *runs) == 0
    text = capsys.readouterr().out
    assert "1 keys differ" in text
    assert "train.steps" in text
    assert execute("diff", first.sweep_id, "clip/1") == 0
    assert "full/1 is" in capsys.readouterr().out
    assert execute("diff", first.sweep_id, first.sweep_id) == 0
    assert "compared with itself" in capsys.readouterr().out
    assert execute("diff", first.sweep_id) == main.EXIT_USER_ERROR
    assert "diff takes one cell or two of a sweep, two runs" in capsys.readouterr().err
