"""What `benchmark=` and `protocol=` name: paths with commas, and YAML of the user."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sweeps.config.request import SweepRequest, parse_request
from tests.helpers.command_ablations import write_command_ablation
from uniclip.errors import UserError


def parse(*words: str) -> SweepRequest:
    return parse_request(["ablation=components", *words])


def test_a_path_with_a_comma_in_a_list_is_answered_with_the_word_in_quotes(tmp_path: Path) -> None:
    folder = tmp_path / "a, b='c"
    folder.mkdir()
    with pytest.raises(UserError, match="has a comma, which divides a list: write ") as error:
        parse(f"benchmark=[csv,folder:{folder},dtd]")
    remedy = str(error.value).partition("write ")[2]
    shell = subprocess.run(["bash", "-c", f"printf %s {remedy}"], capture_output=True, text=True)
    overrides = parse(shell.stdout).plan_request.overrides
    assert overrides["benchmark"] == ["csv", f"folder:{folder}", "dtd"]


def test_user_protocols_and_benchmarks_are_replaced_by_their_content(tmp_path: Path) -> None:
    for group, text in {
        "protocol": 'templates: {dtd: ["a {}"]}',
        "benchmark": "- dtd\n- pets",
    }.items():
        (tmp_path / group).mkdir()
        (tmp_path / group / "custom.yaml").write_text(text)
    words = ("protocol=custom", "benchmark=[scenes,custom,bench14]", f"conf_dir={tmp_path}")
    values = parse(*words).plan_request.overrides
    assert values["runtime.protocol"] == {"name": "custom", "templates": {"dtd": ["a {}"]}}
    assert values["benchmark"] == ["scenes", "dtd", "oxford_pets", "bench14"]
    with pytest.raises(UserError, match="unknown protocol 'custom'"):
        parse("protocol=custom")


def test_the_benchmark_of_a_command_may_name_a_list_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "custom.yaml").write_text("- dtd\n- pets")
    command = {"checkpoint": "model.pt", "benchmark": ["custom", "bench14", "csv:{here}/a.csv"]}
    request = parse_request(write_command_ablation(tmp_path, command=command))
    definition = request.plan_request.ablation.command
    assert definition is not None
    assert definition.benchmark == ("dtd", "oxford_pets", "bench14", "csv:{here}/a.csv")
