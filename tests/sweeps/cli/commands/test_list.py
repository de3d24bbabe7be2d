"""`list`: the choices of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.cli.commands import list as list_command
from tests.helpers.command_line import execute, write_finished_cell
from uniclip.store import Plan, Store

CHOICES = sorted(set(list_command.KINDS) - {"arms", "keys", "runs", "sweeps"})


@pytest.mark.parametrize("kind", CHOICES)
def test_list_prints_the_choices_of_a_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("list", kind) == 0
    expected = {
        "ablations": {"components", "truth"},
        "benchmarks": {"openmoji", "csv", "scenes"},
        "budgets": {"smoke", "quick", "study"},
        "data": {"openmoji", "csv", "scenes"},
        "components": {"awareness", "mp_nce", "domain_similarity"},
        "models": {"tiny"},
        "methods": {"uniclip", "clip"},
        "recipes": {"default", "published", "published_slip"},
        "spaces": {"optimizer", "schedule"},
    }[kind]
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} >= expected


def test_list_without_a_name_prints_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("list") == 0
    assert capsys.readouterr().out == "list " + " | ".join(list_command.KINDS) + "\n"


def test_list_arms(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("list", "arms", "ablation=components") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("full ")


def test_list_describes_a_custom_space_by_its_first_comment(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work_folder / "conf" / "space").mkdir(parents=True)
    text = "# @package _global_\n# Weight decay alone.\ntrain.weight_decay: {low: 0.1, high: 1}\n"
    (work_folder / "conf" / "space" / "decay.yaml").write_text(text)
    assert execute("list", "spaces", "conf_dir=conf") == 0
    assert "decay      Weight decay alone.\n" in capsys.readouterr().out


def test_list_keys_says_default_range_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("list", "keys", "train.learning_rate", "budget=smoke") == 0
    text = capsys.readouterr().out
    assert text.startswith("train.learning_rate=0.00")
    assert "number; > 0" in text
    assert "Peak learning rate." in text
    assert execute("list", "keys", "lr", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert "train.learning_rate" in {record["key"] for record in records}


def test_list_sweeps_and_runs_show_what_a_store_holds(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    write_finished_cell(Store(work_folder / "my store"), plan)
    store_word = f"store={work_folder}/my store"
    assert execute("list", "sweeps", store_word) == 0
    text = capsys.readouterr().out
    assert plan.sweep_id in text
    assert f"1/{len(plan.cells)}" in text
    assert "run ablation=components data=scenes budget=smoke seeds=2" in text
    assert execute("list", "sweeps", store_word, "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["sweep"] == plan.sweep_id
    assert execute("list", "sweeps", "methods", store_word) == 0
    assert plan.sweep_id not in capsys.readouterr().out
    for filters in ([], ["components"]):
        assert execute("list", "runs", *filters, store_word) == 0
        text = capsys.readouterr().out
        assert f"{plan.cells[0].run_id}  complete" in text
        assert f"{plan.sweep_id} {plan.cells[0].name}" in text
