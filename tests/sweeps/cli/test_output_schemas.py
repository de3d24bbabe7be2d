"""What commands print with `--json` is what their schemas say, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import jsonschema
import pytest
from PIL import Image

from sweeps.claims import process
from sweeps.cli.commands import cancel, doctor, run, tune
from sweeps.cli.main import COMMANDS
from sweeps.cli.output_schemas import SCHEMAS
from sweeps.config.request import parse_request
from sweeps.controller.controller import SweepController
from sweeps.doctor.diagnostic import ok, problem
from sweeps.monitor.status import CellRow, build_rows
from sweeps.server import page_server
from sweeps.tuning.rung import TrialsIncomplete
from sweeps.tuning.tuner import Tuner
from tests.helpers import ROOT, dataset_trees, fake_sweep
from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from tests.helpers.reviewed_sweeps import Story, write_sweep
from uniclip.store import Plan, Store, SweepFolder

TRUTH = Truth(seeds=(0, 1), diverged=(("clip", 0),), missing=(("none", 1),))
SWEEP = fake_sweep.plan(TRUTH).sweep_id
SMOKE = ("ablation=components", "budget=smoke", "data=scenes", "arms=[full]")
BUNDLE = str(ROOT / "tests" / "fixtures" / "store_format_1.tar")
WORDS = {
    "run": ("run", *SMOKE),
    "retry": ("retry", *SMOKE),
    "tune": ("tune", *SMOKE),
    "cancel": ("cancel", *SMOKE),
    "diff": ("diff", *SMOKE, "full/0", "full/1"),
    "logs": ("logs", SWEEP, "clip/0"),
    "data check": ("data", "check", "dtd", "data_root=data"),
    "data download": ("data", "download", "dtd", "data_root=data"),
    "data export": ("data", "export", "dtd", "data_root=data", "to=dtd"),
    "data hash": ("data", "hash", "data.path=shards"),
    "data pack": ("data", "pack", "data.path=images.csv", "to=packed"),
    "init": ("init", "project"),
    "serve": ("serve", "--port=0"),
    "bundle": ("bundle", SWEEP, "to=evidence.tar"),
    "verify": ("verify", BUNDLE),
    "merge": ("merge", BUNDLE, "store=merged"),
    "import": ("import", "runs.csv", "store=imported"),
    "plan": ("plan", "ablation=components", "budget=smoke"),
    "status": ("status", SWEEP),
    "report": ("report", SWEEP),
    "review": ("review", "controls"),
    "notebook": ("notebook", SWEEP),
    "export": ("export", "csv", SWEEP),
    "list": ("list", "ablations"),
    "list keys": ("list", "keys", "train"),
    "list runs": ("list", "runs"),
    "list sweeps": ("list", "sweeps"),
    "doctor": ("doctor", "ablation=components", "budget=smoke"),
    "gc": ("gc",),
}
WITH_STORE = (
    *("logs", "serve", "bundle", "plan", "status", "report", "notebook", "export"),
    *("list runs", "list sweeps", "doctor", "gc"),
)
"""Commands, or commands and kinds, that read the store of the tests."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store, _ = fake_sweep.make(tmp_path_factory.mktemp("json"), TRUTH)
    (store.cache_path / "x").mkdir(parents=True)
    return store


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace what trains, waits, or depends on the machine; what is left prints the records."""

    def run_cells(controller: SweepController, *_: object) -> list[CellRow]:
        print("text on cells")
        return build_rows(controller.store, controller.plan)

    def print_report(store: Store, plan: Plan) -> int:
        print("text on the report")
        return 1

    def stop_tuning(*_: object) -> NoReturn:
        raise TrialsIncomplete("2 runs are not finished")

    monkeypatch.setattr(run, "run_cells", run_cells)
    monkeypatch.setattr(run, "print_report", print_report)
    monkeypatch.setattr(tune, "run_cells", lambda _: [])
    monkeypatch.setattr(Tuner, "tune", stop_tuning)
    monkeypatch.setattr(doctor, "collect_diagnostics", lambda *_, **__: DIAGNOSTICS)
    monkeypatch.setattr(cancel, "Slurm", lambda: SimpleNamespace(config=None, cancel=list))
    active = (SimpleNamespace(kind="follow_up"), SimpleNamespace(id="17"), ())
    submissions = SimpleNamespace(list_active_jobs=lambda: [active])
    monkeypatch.setattr(cancel, "Submissions", lambda *_: submissions)
    monkeypatch.setattr(page_server, "serve", lambda server: server.server_close())


SLOW = ("bundle", "notebook", "report")
DIAGNOSTICS = (ok("store", "can be written"), problem("data", "missing", "install them"))


@pytest.mark.usefixtures("replaced")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in WORDS]
)
def test_the_output_is_valid_and_has_records(
    name: str, store: Store, work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name.startswith("data"):
        write_images(work_folder)
    elif name == "import":
        (work_folder / "runs.csv").write_text("arm,seed,score\na,0,0.5\n")
    elif name in ("retry", "cancel"):
        folder = write_failed_cell(Store(work_folder / "store"))
        folder.submissions_path.touch()
    elif name == "review":
        write_sweep(work_folder / "store", Story(is_tuned=False, has_other_scale=False))
    capsys.readouterr()
    execute(*WORDS[name], *[f"store={store.root}"] * (name in WITH_STORE), "--json")
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document, output.err
    jsonschema.validate(document, SCHEMAS[name], jsonschema.Draft202012Validator)


def write_images(folder: Path) -> None:
    """Write the data that `WORDS` names below the working folder."""
    dataset_trees.dtd(folder / "data")
    Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    (folder / "images.csv").write_text("filepath\ttitle\nred.png\ta red square\nno.png\tnone\n")
    execute("data", "pack", "data.path=images.csv", "to=shards", "--json")


def write_failed_cell(store: Store) -> SweepFolder:
    """Store a plan and a failed attempt of its first cell, and return the folder of the sweep."""
    plan = parse_request(SMOKE).build_plan().plan
    sweep = store.get_sweep(plan.sweep_id)
    sweep.write_plan(plan)
    run_folder = store.get_run(plan.cells[0].run_id)
    run_folder.write_spec({})
    attempt = run_folder.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken")
    return sweep


@pytest.mark.usefixtures("replaced")
@pytest.mark.parametrize(
    ("name", "exit_status", "cells", "message"),
    [
        ("run", 1, {"pending": 2}, ""),
        ("retry", 1, {"failed": 1, "pending": 1}, ""),
        ("tune", 1, {"pending": 2}, "tuning: 2 runs are not finished"),
    ],
)
def test_a_record_stands_at_the_end_and_text_on_standard_error(
    name: str,
    exit_status: int,
    cells: dict[str, int],
    message: str,
    work_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if name == "retry":
        write_failed_cell(Store(work_folder / "store"))
    plan = parse_request(SMOKE).build_plan().plan
    assert execute(*WORDS[name], "--json") == exit_status
    output = capsys.readouterr()
    record = json.loads(output.out)
    report = str(Store(work_folder / "store").report_path(plan.sweep_id))
    assert record == {
        "sweep": plan.sweep_id,
        "cells": cells,
        "report": None if message else report,
        "exit_status": exit_status,
        "message": message,
    }
    assert (message or "text on cells\ntext on the report\n") in output.err


@pytest.mark.usefixtures("replaced")
def test_several_sweeps_are_one_list(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("ablation=components,losses", "budget=smoke", "data=scenes")
    assert execute("run", *words, "--json") == 1
    output = capsys.readouterr()
    records = json.loads(output.out)
    assert [record["sweep"].split("-")[0] for record in records] == ["components", "losses"]
    assert all(set(record["cells"]) == {"pending"} for record in records)
    assert "2 sweeps, one after another" in output.err
    assert "---- summary of 2 sweeps ----" in output.err


def test_the_configuration_is_not_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("run", *SMOKE, "--cfg=job", "--json") == 2
    assert "leave out --json" in capsys.readouterr().err


def test_every_schema_is_one_and_is_tested() -> None:
    assert set(WORDS) == set(SCHEMAS)
    assert {name.split()[0] for name in SCHEMAS} <= set(COMMANDS)
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_command_with_the_flag_has_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    described = {name.split()[0] for name in SCHEMAS}
    for command in COMMANDS:
        execute(command, "--help")
        assert ("--json" in capsys.readouterr().out) == (command in described), command


def test_an_output_with_another_field_is_invalid(tmp_path: Path) -> None:
    record = {"folder": str(tmp_path), "bytes": 0, "is_deleted": False}
    jsonschema.validate([record], SCHEMAS["gc"])
    for wrong in ({**record, "more": 1}, {"folder": str(tmp_path)}, {**record, "bytes": "0"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([wrong], SCHEMAS["gc"])
