"""`logs`: the log of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.cli import main
from tests.helpers.command_line import execute, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.io.atomic import append_jsonl
from uniclip.store import Plan, Store


def test_logs_prints_the_newest_log_and_its_path(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    cell = plan.cells[0]
    for name in (cell.name, cell.run_id[:8]):
        assert execute("logs", *OVERRIDES, name) == 0
        text = capsys.readouterr().out
        assert "hello from the log" in text
        assert str(store.get_run(cell.run_id).get_attempt(1).log_path) in text


def test_a_run_id_or_its_start_needs_no_words(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    cell = plan.cells[0]
    for words in ([cell.run_id], [cell.run_id[:5]], [cell.name], [plan.sweep_id, cell.name],
                  [cell.name, "components-"]):  # fmt: skip
        assert execute("logs", *words) == 0
        assert "hello from the log" in capsys.readouterr().out
    store.get_run("ab12000000000000").write_spec({})
    store.get_run("ab12ffffffffffff").write_spec({})
    for words, match in (
        (["ab12"], "'ab12' is the start of 2 run ids: ab12000000000000, ab12ffffffffffff"),
        (["ab1200"], "ab1200 has not been run"),
        (["components"], "logs takes one cell of components-smoke"),
        ([plan.cells[1].name], "has not been run: there is no log yet"),
    ):
        assert execute("logs", *words) == main.EXIT_USER_ERROR
        assert match in capsys.readouterr().err


def test_an_empty_log_is_replaced_by_an_older_one_and_the_last_metrics(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    run = store.get_run(plan.cells[0].run_id)
    newest = run.claim_attempt(2, process.make_claim_record({}))
    assert newest is not None
    newest.log_path.write_text("\n")
    newest.write_end("trained")
    append_jsonl(newest.metrics_path, {"step": 8, "phase": "train", "loss": 1.23456, "lr": 1e-4})
    append_jsonl(newest.metrics_path, {"step": 9, "phase": "validation", "score": 0.25})
    assert execute("logs", run.id) == 0
    text = capsys.readouterr().out
    assert f"hello from the log\n({run.get_attempt(1).log_path}, attempt 1 of 2)" in text
    assert f"attempt 2 of 2 printed nothing and ended as trained: {newest.log_path}" in text
    assert "last metrics of train, step 8: loss 1.235, lr 0.0001" in text
    assert "last metrics of validation, step 9: score 0.25" in text
    assert f"all metrics: {newest.metrics_path}" in text
