"""What commands print with `--json` is what their schemas say, field by field."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sweeps.cli.commands import doctor
from sweeps.cli.main import COMMANDS
from sweeps.cli.output_schemas import SCHEMAS
from sweeps.doctor.diagnostic import ok, problem
from tests.helpers import fake_sweep
from tests.helpers.command_line import execute
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store

TRUTH = Truth(seeds=(0, 1), diverged=(("clip", 0),), missing=(("none", 1),))
SWEEP = fake_sweep.plan(TRUTH).sweep_id
WORDS = {
    "plan": ("plan", "ablation=components", "budget=smoke"),
    "status": ("status", SWEEP),
    "report": ("report", SWEEP),
    "notebook": ("notebook", SWEEP),
    "export": ("export", "csv", SWEEP),
    "list": ("list", "ablations"),
    "list keys": ("list", "keys", "train"),
    "list runs": ("list", "runs"),
    "list sweeps": ("list", "sweeps"),
    "doctor": ("doctor", "ablation=components", "budget=smoke"),
    "gc": ("gc",),
}
WITHOUT_STORE = ("list", "list keys")
"""Commands that take no `store=`."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store, _ = fake_sweep.make(tmp_path_factory.mktemp("json"), TRUTH)
    (store.cache_path / "x").mkdir(parents=True)
    return store


SLOW = ("notebook", "report")
DIAGNOSTICS = (ok("store", "can be written"), problem("data", "missing", "install them"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in WORDS]
)
def test_the_output_is_valid_and_has_records(
    name: str,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the doctor finds depends on the machine, so its checks are replaced."""
    monkeypatch.setattr(doctor, "collect_diagnostics", lambda *_, **__: DIAGNOSTICS)
    store_words = () if name in WITHOUT_STORE else (f"store={store.root}",)
    execute(*WORDS[name], *store_words, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document
    jsonschema.validate(document, SCHEMAS[name], jsonschema.Draft202012Validator)


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
