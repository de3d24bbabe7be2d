"""`status`: the status of every cell, advice, JSON records, and damaged files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.cli import main
from tests.helpers.command_line import execute, read_files, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, RunStatus, Store


def test_json_has_one_record_per_cell(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("plan", "status"):
        assert execute(command, *OVERRIDES, "--json") == 0
        records = json.loads(capsys.readouterr().out)
        assert [r["cell"] for r in records] == [c.name for c in plan.cells]
        assert {r["status"] for r in records} == {RunStatus.PENDING}
    assert read_files(work_folder) == {}


def test_status_advises_on_what_it_shows(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    attempt = store.get_run(plan.cells[1].run_id).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: [/nothing] to see")
    assert execute("status", *OVERRIDES) == 0
    text = capsys.readouterr().out
    assert "1 failed" in text
    assert "1 complete" in text
    assert "ValueError: [/nothing] to see" in text
    assert "next step for failed cells: logs, then retry" in text
    assert "for complete cells" not in text


def find_file(kind: str, store: Store, plan: Plan) -> Path:
    run = store.get_run(plan.cells[0].run_id)
    return {
        "plan": store.get_sweep(plan.sweep_id).path / "plan.json",
        "audit": store.get_sweep(plan.sweep_id).audit_path,
        "outcome": run.path / "outcome.json",
        "claim": run.get_attempt(1).claim_path,
        "ended": run.get_attempt(1).path / "end.json",
    }[kind]


@pytest.mark.parametrize("text", ["", '{"kind": ', "[]", '{"unheard": 1}'])
@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("plan", "status"),
        ("plan", "logs"),
        ("outcome", "status"),
        ("outcome", "plan"),
        ("audit", "report"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    kind: str,
    command: str,
    text: str,
    work_folder: Path,
    plan: Plan,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    path = find_file(kind, store, plan)
    path.write_text(text)
    files = read_files(work_folder)
    names = ["full/0"] if command == "logs" else []
    assert execute(command, *OVERRIDES, *names) == main.EXIT_USER_ERROR
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert str(path) in printed.err
    assert "damaged" in printed.err
    assert read_files(work_folder) == files


@pytest.mark.parametrize("kind", ["claim", "ended"])
def test_a_damaged_claim_or_exit_record_is_named(
    kind: str, work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    (store.get_run(plan.cells[0].run_id).path / "outcome.json").unlink()
    path = find_file(kind, store, plan)
    path.write_text("{")
    assert execute("status", *OVERRIDES) == main.EXIT_USER_ERROR
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert str(path) in printed.err


def test_every_reading_command_takes_the_id_of_a_sweep(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    for command in ("status", "plan"):
        assert execute(command, *OVERRIDES, "--json") == 0
        expected = json.loads(capsys.readouterr().out)
        for name in (plan.sweep_id, "components-s"):
            assert execute(command, name, "--json") == 0
            assert json.loads(capsys.readouterr().out) == expected
    assert execute("status", "ablation=components", "data=scenes", "--json") == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == len(plan.arms) * 5
    assert printed.err.count("\n") == 1
    assert f"the store has {plan.sweep_id} of this ablation: add budget=smoke" in printed.err
    assert execute("report", "ablation=components", "data=scenes") == main.EXIT_USER_ERROR
    assert "add budget=smoke, or write report <id>" in capsys.readouterr().err


def test_html_is_one_file_with_links_to_the_store(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_cell(Store(work_folder / "store"), plan)
    capsys.readouterr()
    assert execute("status", *OVERRIDES, "--html=pages/now.html") == 0
    assert capsys.readouterr().err == "page: pages/now.html\n"
    page = (work_folder / "pages" / "now.html").read_text()
    (text,) = re.findall(r'id="payload">(.*?)</script>', page, re.DOTALL)
    payload = json.loads(text)
    assert len(payload["cells"]["rows"]) == len(plan.cells)
    assert payload["store_url"] == "../store/"
    assert execute("status", *OVERRIDES, "--html", "--watch") == 2
    assert "--html writes once" in capsys.readouterr().err
