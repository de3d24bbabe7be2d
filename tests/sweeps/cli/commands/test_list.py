"""`list`: the choices of every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.cli.commands import list as list_command
from tests.helpers.command_line import execute


@pytest.mark.parametrize("kind", [k for k in list_command.KINDS if k != "arms"])
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
